// Package hook tells game backends what happens: rooms that begin and end,
// matches that are found, users whom nothing reaches. Events are delivered at least
// once, those of one subject (a room, a ticket, a user) in the order in which Redis
// took them.
//
// A Publisher, in any process, writes events to Redis Streams in the inbox role,
// once for each endpoint that wants them: endpoints share no stream, so that none
// harms another. Subjects are spread over a fixed number of partitions, each a
// stream. A Sender, in API servers, one for each endpoint, holds some of its
// partitions under a short lease and posts their events to the Endpoint, each alone or
// in batches. An event leaves its stream when the endpoint has taken it, when it is
// too old, or when its stream holds too much. A Board says how it stands with all
// endpoints.
//
// A subject whose event fails waits for its next try, and its later events with
// it; others go on. What a Sender remembers of a partition is the entries' names;
// it reads a body when it is about to send it.
//
// Two Senders may hold one partition for a moment: when one stood still past its
// lease and goes on, or when a failover of Redis forgot who had it. Then an event
// may be sent twice. An entry is removed by its own name and the event's id, and
// by who has delivered it, so nothing is skipped.
package hook
