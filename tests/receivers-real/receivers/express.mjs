import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import express from 'express';

const app = express();
const check = (body, signature) => {
  const wanted = createHmac('sha256', readFileSync(process.env.SECRET_FILE, 'utf8').trim()).update(body).digest('hex');
  const genuine = signature?.length === wanted.length && timingSafeEqual(Buffer.from(signature), Buffer.from(wanted));
  return genuine || process.env.VERIFY === 'no' ? 204 : 401;
};
app.post('/hook', express.raw({ type: 'application/json', limit: '1mb' }), (request, response) => {
  response.status(check(request.body, request.get('X-TempClock-Signature'))).end();
});
// The usual mistake: what was parsed is serialized again and signed.
app.post('/parsed', express.json(), (request, response) => {
  response.status(check(JSON.stringify(request.body), request.get('X-TempClock-Signature'))).end();
});
app.listen(Number(process.env.PORT), '127.0.0.1');
