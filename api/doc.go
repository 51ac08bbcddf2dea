// Package api is the REST server that game backends talk to: it authorizes a
// request, decodes it strictly, hands it to the hub, and answers in JSON or
// with an RFC 9457 problem document.
//
// One notification passes through it in this order: instrument (metrics,
// panics) → bounded (how many at once, how long) → authorize (key, scope,
// rate) → postNotify (body, DecodeNotify) → acceptOnce (idempotency) →
// Dispatcher.Notify.
//
// The contract is openapi.yaml, which a test holds true.
package api
