#!/usr/bin/perl
# A CGI program without any library for CGI. Its server hands no environment of its own on, so the secret is in a file.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_hex);

binmode STDIN;
read(STDIN, my $body, $ENV{CONTENT_LENGTH} // 0);
(my $file = $ENV{SCRIPT_FILENAME}) =~ s/receiver\.cgi$/secret.txt/;
open(my $opened, '<', $file) or die "$file: $!";
my $secret = <$opened>;
my $is_genuine = hmac_sha256_hex($body, $secret) eq ($ENV{HTTP_X_TEMPCLOCK_SIGNATURE} // '');
print 'Status: ', $is_genuine ? '200 OK' : '401 Unauthorized', "\r\nContent-Type: text/plain\r\n\r\n";
print $is_genuine ? 'taken' : 'refused';
