"""The round trip with a client made by openapi-generator."""

import sys

import openapi_client as made
from openapi_client.exceptions import ConflictException, NotFoundException

server, key, receiver = sys.argv[1:]
api = made.ApiClient(made.Configuration(host=server, access_token=key))
subscriptions, events, deliveries = made.SubscriptionsApi(api), made.EventsApi(api), made.DeliveriesApi(api)

created = subscriptions.create_subscription(made.NewSubscription(url=receiver, events=["clock_in"])).data
assert len(created.secret) == 64

ping = subscriptions.test_subscription(created.id).data
assert ping.success is True, ping


def clock_in(worker):
    data = {"entry_id": 1, "worker_id": 2, "worker_name": worker, "clock_in": "2026-03-02T08:58:00+01:00", "location_id": 3}
    event = {"event": "clock_in", "id": "entry-1", "data": data}
    return made.NewEvent.from_dict(event)


first = events.publish_event(clock_in("Ana")).data
again = events.publish_event(clock_in("Ana")).data
assert (first.deliveries, first.duplicate, again.duplicate, again.id) == (1, False, True, first.id)
try:
    events.publish_event(clock_in("Bo"))
    raise AssertionError("another event under the same id")
except ConflictException as error:
    assert error.data.code == "idempotency_conflict", error.data

stored_at = events.read_event(first.id).data.created_at
found = events.list_events(event="clock_in", since=stored_at).data
assert [event.id for event in found] == [first.id]

delivery = deliveries.list_deliveries(subscription=created.id, event="clock_in").data[0]
assert delivery.event_id == first.id
retried = deliveries.retry_delivery(delivery.id)
assert retried.data.id == delivery.id and retried.message

assert subscriptions.delete_subscription(created.id).data.deleted is True
try:
    subscriptions.read_subscription(created.id)
    raise AssertionError("it is still there")
except NotFoundException as error:
    assert error.data.code == "not_found", error.data
