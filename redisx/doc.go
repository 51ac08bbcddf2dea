// Package redisx knows where the Redis servers of a deployment are, which of
// them are masters, and how to keep reading from and subscribing to healthy
// ones while they fail over. It knows topology and bytes, not users.
//
// A deployment has three roles (data, pub/sub, inbox), each of one or several
// shards. A shard is either one address or a master that Sentinels watch,
// with its replicas. Redis.Run follows every shard; Role and Shard hand out
// plain go-redis clients; Subscriber keeps channels subscribed on every shard.
package redisx
