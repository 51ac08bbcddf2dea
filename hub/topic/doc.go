// Package topic is what processes do about topics beside sending to them: backends make
// users members and ask who is one, and topics keep what they were told.
//
// Which process has members of a topic stands in the index, under the topic's Address.
// Who they are only those processes know, and are asked by hub/call.
package topic
