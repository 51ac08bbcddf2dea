// Package relay carries messages from process to process over the pub/sub
// shards. A process subscribes to one channel, its own, on every shard; a
// sender sticks to one shard for each receiver, so that messages of a pair
// arrive in the order they were sent, and goes to the next shard only when a
// publish fails.
//
// Delivery is at most once: Redis Pub/Sub forgets what no subscriber was
// there to read. Sequence numbers let the receiver see and count what it
// missed (homing_relay_missed_total).
package relay
