# A receiver on a plain socket that looks each header up by its exact name. The secret is in WEBHOOK_SECRET.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_hex);
use IO::Socket::INET;

$| = 1;
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 16) or die "cannot listen: $!";
print 'listening on ', $listener->sockport, "\n";
while (my $client = $listener->accept) {
    my %headers;
    my $line = <$client>;
    while (defined($line = <$client>) && $line =~ /^([^:]+): (.*?)\r?\n/) {
        $headers{$1} = $2;
    }
    read($client, my $body, $headers{'Content-Length'} // 0);
    my $is_genuine = hmac_sha256_hex($body, $ENV{WEBHOOK_SECRET}) eq ($headers{'X-TempClock-Signature'} // '');
    my $status = $is_genuine ? '200 OK' : '401 Unauthorized';
    print $client "HTTP/1.1 $status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    close $client;
}
