// Package inbox keeps notifications for users who are away, or who have not
// acknowledged them, in Redis Streams.
//
// A user's inbox is a stream, ordered by position: the millisecond at which an
// entry was stored, or one more than the position before. Beside it stand the
// positions of the last ids it held, so that a client which names one is
// understood when the entry is gone, and the newest position that was given up
// because its time was over or the inbox full: by that it is told whether it
// missed something for good.
//
// All of it is on the inbox's shard of the user and goes by itself. The stream
// lives as long as its longest entry, the rest for Config.MaxAge after the
// last notification.
//
// Each shard carries a mark (history.go), which is read with an inbox. A shard
// without one has come back empty, or is new; a mark says since when nothing
// was lost there, and over which lists of shards users were spread, so that no
// history is called whole while a part of it is elsewhere. What is missing is
// found by those that knew it: other shards, the shards of the index, running
// processes. So one thing stays unseen: every one of these Redis servers comes
// back empty, and every process with them. A part of the keys thrown away by
// Redis or by hand is seen only where it tears an inbox apart.
package inbox
