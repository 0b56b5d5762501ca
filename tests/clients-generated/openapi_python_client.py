"""The round trip with a client made by openapi-python-client."""

import datetime
import sys

from made import AuthenticatedClient, models
from made.api.deliveries import list_deliveries, retry_delivery
from made.api.events import list_events, publish_event, read_event
from made.api.subscriptions import create_subscription, delete_subscription, read_subscription, test_subscription

server, key, receiver = sys.argv[1:]
client = AuthenticatedClient(base_url=server, token=key)

wanted = models.NewSubscription(url=receiver, events=["clock_in"])
created = create_subscription.sync(client=client, body=wanted).data
assert len(created.secret) == 64

ping = test_subscription.sync(created.id, client=client).data
assert ping.success is True, ping


def clock_in(worker):
    time = datetime.datetime(2026, 3, 2, 7, 58, tzinfo=datetime.timezone.utc)
    data = models.ClockInData(entry_id=1, worker_id=2, worker_name=worker, clock_in=time, location_id=3)
    return models.NewClockInEvent(event="clock_in", id="entry-1", data=data)


first = publish_event.sync(client=client, body=clock_in("Ana")).data
again = publish_event.sync(client=client, body=clock_in("Ana")).data
assert (first.deliveries, first.duplicate, again.duplicate, again.id) == (1, False, True, first.id)
refused = publish_event.sync(client=client, body=clock_in("Bo"))
assert isinstance(refused, models.Error) and refused.code == "idempotency_conflict", refused

stored_at = read_event.sync(first.id, client=client).data.created_at
found = list_events.sync(client=client, event="clock_in", since=stored_at).data
assert [event.id for event in found] == [first.id]

delivery = list_deliveries.sync(client=client, subscription=created.id, event="clock_in").data[0]
assert delivery.event_id == first.id
retried = retry_delivery.sync(delivery.id, client=client)
assert retried.data.id == delivery.id and retried.message

assert delete_subscription.sync(created.id, client=client).data.deleted is True
gone = read_subscription.sync(created.id, client=client)
assert isinstance(gone, models.Error) and gone.code == "not_found", gone
