# A receiver on a plain socket that looks each header up by its exact name. The secret is in WEBHOOK_SECRET.
proc serve {client address port} {
    fconfigure $client -translation binary
    gets $client request
    while {[gets $client line] >= 0 && [regexp {^([^:]+): (.*?)\r?$} $line -> name value]} {
        set headers($name) $value
    }
    set body [read $client $headers(Content-Length)]
    # openssl reads a file, as a text that is given to it is encoded again.
    set file [file tempfile path]
    fconfigure $file -translation binary
    puts -nonewline $file $body
    close $file
    set expected [lindex [exec openssl dgst -sha256 -hmac $::env(WEBHOOK_SECRET) $path] end]
    file delete $path
    set status "401 Unauthorized"
    if {[info exists headers(X-TempClock-Signature)] && $headers(X-TempClock-Signature) eq $expected} {
        set status "200 OK"
    }
    puts -nonewline $client "HTTP/1.1 $status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    close $client
}

set listener [socket -server serve -myaddr 127.0.0.1 0]
puts "listening on [lindex [fconfigure $listener -sockname] 2]"
flush stdout
vwait forever
