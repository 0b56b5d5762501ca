// The round trip with types made by openapi-typescript, and openapi-fetch. It has to compile, too.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./made";

const [server, key, receiver] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl: server, headers: { Authorization: `Bearer ${key}` } });

const created = await client.POST("/api/v1/webhooks", { body: { url: receiver, events: ["clock_in"] } });
const subscription = created.data!.data;
assert.equal(subscription.secret!.length, 64);
const byId = { params: { path: { id: subscription.id } } };

const ping = await client.POST("/api/v1/webhooks/{id}/test", byId);
assert.equal(ping.data!.data.success, true);

const clockIn = (worker_name: string): components["schemas"]["NewClockInEvent"] => ({
  event: "clock_in",
  id: "entry-1",
  data: { entry_id: 1, worker_id: 2, worker_name, clock_in: "2026-03-02T08:58:00+01:00", location_id: 3 },
});
const first = (await client.POST("/api/v1/events", { body: clockIn("Ana") })).data!.data;
const again = (await client.POST("/api/v1/events", { body: clockIn("Ana") })).data!.data;
assert.deepEqual([first.deliveries, first.duplicate, again.duplicate, again.id], [1, false, true, first.id]);
const refused = await client.POST("/api/v1/events", { body: clockIn("Bo") });
assert.equal(refused.error!.code, "idempotency_conflict");

const stored = (await client.GET("/api/v1/events/{id}", { params: { path: { id: first.id } } })).data!.data;
const since = stored.created_at;
const found = await client.GET("/api/v1/events", { params: { query: { event: "clock_in", since } } });
assert.deepEqual(found.data!.data.map((event) => event.id), [first.id]);

const query = { subscription: subscription.id, event: "clock_in" } as const;
const deliveries = await client.GET("/api/v1/deliveries", { params: { query } });
const delivery = deliveries.data!.data[0]!;
assert.equal(delivery.event_id, first.id);
const retried = await client.POST("/api/v1/deliveries/{id}/retry", { params: { path: { id: delivery.id } } });
assert.equal(retried.data!.data.id, delivery.id);
assert.ok(retried.data!.message);

const deleted = await client.DELETE("/api/v1/webhooks/{id}", byId);
assert.equal(deleted.data!.data.deleted, true);
const gone = await client.GET("/api/v1/webhooks/{id}", byId);
assert.equal(gone.error!.code, "not_found");
