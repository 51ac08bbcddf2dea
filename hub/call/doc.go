// Package call asks another process for something and waits for its answer. Asks
// and answers are messages of the relay: they find their way around a Redis that
// fails, and each is carried out once at most.
//
// What an answer is missing for is not known: the other process may have died
// before it carried the ask out, or after. So what is asked for bears repetition,
// or can be looked up.
package call
