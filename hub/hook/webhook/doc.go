// Package webhook posts events to a game backend over HTTP, signed by the
// Standard Webhooks convention: the headers webhook-id, webhook-timestamp and
// webhook-signature, the last with one signature for each secret.
package webhook
