// Package capacity computes what a deployment of Homing needs for a number of
// connected users, from the unit costs that were measured on one machine. It
// is arithmetic alone: it reads nothing and measures nothing.
//
// What it adds to a division of loads by costs is what grows faster than the
// load: the envelopes of a notification, which come to one per user as the
// processes become many; the confirmations between every API server and every
// worker; and what every process asks every Redis server each second.
package capacity
