// Package crowd has many players in game rooms, cheaply: processes of their
// own (so that their CPU is accounted apart), each with one epoll loop over raw
// sockets. A Party drives them. A player says where it is a fixed number of times
// a second, on a schedule that does not wait for the server, and reads a frame a
// tick. Homing, Socket.IO and Colyseus are spoken (see Dialect).
//
// Two times are measured of a frame. It is late by what it arrives after its
// tick: ticks have numbers, so a room's least late frame gives the instant at
// which every other tick was due. And it has an echo, the time from the instant
// at which a player was to say where it is until it reads that in a frame: with
// an idle server that is the wait for the next tick, half of one in the mean.
package crowd
