// Package lease says which processes live.
//
// A process takes a lease in data Redis and renews it. Others read the leases.
// A lease that stands proves life, but one that lapsed proves little: its
// holder may only have been cut off from that one Redis. So death is declared,
// in one place and once: whoever finds a lease missing asks the process through
// the relay, and only when it does not answer writes a tombstone, which every
// other process reads and which its owner finds when it comes back.
//
//   - Census is the reader's side: the roll of live processes, the questions,
//     the declarations.
//   - Standing is the holder's side: whether it is still believed to live, by
//     its own clock.
package lease
