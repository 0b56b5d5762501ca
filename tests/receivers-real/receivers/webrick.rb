require 'openssl'
require 'webrick'

server = WEBrick::HTTPServer.new(BindAddress: '127.0.0.1', Port: ENV['PORT'].to_i,
                                 Logger: WEBrick::Log.new(File::NULL), AccessLog: [])
server.mount_proc '/hook' do |request, response|
  secret = File.read(ENV['SECRET_FILE']).strip
  wanted = OpenSSL::HMAC.hexdigest('SHA256', secret, request.body)
  genuine = OpenSSL.secure_compare(wanted, request['X-TempClock-Signature'] || '')
  response.status = ENV['VERIFY'] == 'no' || genuine ? 204 : 401
end
trap('TERM') { server.shutdown }
server.start
