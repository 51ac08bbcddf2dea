// Package unreached tells game backends of stored notifications that have not
// reached their users: what a service needs that sends to phones.
//
// Note writes down whom a notification was stored for while they were away, in a
// sorted set on the inbox's shard of each user, by when to look again. Run looks:
// who is online by then, or has acknowledged it, is forgotten. For the others an
// event is published, one for each user, so that those of one user keep their order.
//
// One process looks at a time, of each shard, under a turn that lapses. It takes
// entries out when Redis has their events: a process that dies in between has the
// next one publish them again, under the same ids.
package unreached
