// Package relay carries messages from process to process over the pub/sub
// shards, and makes reliable what Redis Pub/Sub is not.
//
// A process subscribes to one channel, its own, on every shard. A sender
// numbers the messages of each receiver, sticks to one shard for it, and keeps
// every message until the receiver has confirmed that it was handled. What a
// shard does not take goes to the next shard at once; what the receiver says
// it misses, or says nothing about, is sent again. The receiver drops repeats
// and releases messages in order.
//
// Lost for good is only what its receiver did not confirm within the window
// (homing_relay_given_up_total), or what a process that died had not sent.
//
//	outgoing.go  what one sender keeps for one receiver   (no I/O, no clock)
//	incoming.go  what one receiver knows of one sender    (no I/O, no clock)
//	send.go receive.go tend.go  the two put to work
//	network.go   the ways to other processes: a lane for each shard
//	lane.go      the pipeline to one shard
//	witness.go   who lives: questions, answers and what came of them
//	canary.go    whether what is published comes back
package relay
