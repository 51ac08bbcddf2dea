// Package client speaks homing.v1, the WebSocket protocol by which a player
// hears notifications, and nothing else of Homing.
//
// [Conn] is one connection: [Dial] returns it once the server has said hello,
// and Receive yields what the server says. [Client] keeps a user connected: it
// dials again after every loss, catches up on what was stored meanwhile, drops
// notifications that it has already given, and acknowledges those that ask for
// it once the [Handler] has dealt with them.
//
// # When a Client comes back
//
// As docs/protocol.md says, "Reconnecting". [Backoff] has the waits and
// [Permanent] what ends Run.
//
//	the connection ended with                                   | connect again
//	reconnect before it, however long before                    | when its after_ms is over, plus up to a tenth of it or a quarter of a second
//	1012                                                        | after a random time up to 2 s
//	HTTP 429 or 503 with Retry-After                            | after that time, plus up to a second and a tenth of it
//	1013, any other HTTP 429 or 503                             | after a random time between 2.5 and 7.5 s
//	HTTP 401                                                    | with a fresh token, after the growing pause; no more after 5 in a row
//	1000, 4003                                                  | not by itself: somebody ended it on purpose
//	4010                                                        | not by itself: a newer connection of the same user has taken its place, and would be closed in turn
//	1002, 1003, 1007, 1008, 1009, 1010, HTTP 400, 403, 404, 426 | not before the client is mended; so with every other 4xx but 408 and 425
//	1006 (no close frame), 1001, 1011, 4008, 4009, all the rest | after the growing pause: 250 ms, doubled at each failure up to 32 s, each time between half and one and a half of it
//
// A server that asks for more than [Options].LongestWait is not obeyed longer,
// and a reconnect or 1012 that comes again and again meets the growing pause.
//
// # A Handler that is slower than the server
//
// A Client reads ahead of its Handler, so that it answers pings meanwhile, but
// no further than [Options].QueueMessages and QueueBytes. Then it stops
// reading, and what comes waits in the kernels' buffers and in the server's
// outbox. When that is full too the server closes with 4008, or with 4009 when
// a ping waits behind it all. The Handler is still given what was read; what
// was stored comes again after the reconnect.
package client
