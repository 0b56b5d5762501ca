# Runs the CGI program that is its argument at /cgi, with Perl.
require "webrick"

options = { BindAddress: "127.0.0.1", Port: 0, AccessLog: [], Logger: WEBrick::Log.new(File::NULL) }
server = WEBrick::HTTPServer.new(**options, CGIInterpreter: "/usr/bin/perl")
server.mount("/cgi", WEBrick::HTTPServlet::CGIHandler, ARGV[0])
puts "listening on #{server.listeners[0].addr[1]}"
$stdout.flush
server.start
