// Package control runs a fleet by its rules: it looks at all nodes once a second, has
// hub/fleet/scale decide, and carries out what that decides.
//
// Several controllers may run; one leads (hub/fleet/leader), and the others wait for it
// to end. What the rules remember, and what was decided, is in Redis before anything is
// done of it, written under the leader's term. So the next leader goes on from there, and
// nothing is done twice for one reason: an action whose outcome nobody knows, because its
// leader has gone, is not begun again. The rules themselves find that its nodes have not
// come, and order again in time.
package control
