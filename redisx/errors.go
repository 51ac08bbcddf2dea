package redisx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrUnavailable marks a failure to reach a working Redis: the same call
	// may succeed later.
	ErrUnavailable = errors.New("redis unavailable")
	// ErrNoMaster marks that a shard has no reachable master now. It is an
	// ErrUnavailable too.
	ErrNoMaster = fmt.Errorf("%w: no reachable master", ErrUnavailable)
	// ErrNotAsked marks that whoever must answer first, the master or the
	// Sentinels, has not been asked yet, as in the first moments of a process.
	// It says nothing about Redis, and is an ErrNoMaster too.
	ErrNotAsked = fmt.Errorf("%w: not asked yet", ErrNoMaster)
	// ErrWrongRole marks a new connection that was given up because the
	// server is not what discovery believes it to be, a master or a replica.
	// It is an ErrUnavailable too.
	ErrWrongRole = fmt.Errorf("%w: wrong role", ErrUnavailable)
	// ErrNotCopied marks a write that the master may have, and that a failover
	// may undo. It is an ErrUnavailable too.
	ErrNotCopied = fmt.Errorf("%w: not copied", ErrUnavailable)
	// ErrFull marks that a server takes no writes until somebody gives it
	// memory or disk. It is an ErrUnavailable too.
	ErrFull = fmt.Errorf("%w: full", ErrUnavailable)
	// ErrMisconfigured marks that a server does not let us do what we must,
	// until somebody changes its configuration or ours. It is an
	// ErrUnavailable too.
	ErrMisconfigured = fmt.Errorf("%w: misconfigured", ErrUnavailable)
)

// class is what a failure means for the next try.
type class uint8

const (
	// classReply: an answer to the command, or the caller's own error. Another
	// try gets the same.
	classReply class = iota
	// classElsewhere: this server cannot serve now, another one may.
	classElsewhere
	// classUnavailable: the shard cannot serve now.
	classUnavailable
	// classFull: as ErrFull says.
	classFull
	// classMisconfigured: as ErrMisconfigured says.
	classMisconfigured
)

// String names the class as metrics, logs and Trouble do.
func (c class) String() string {
	return [...]string{"reply", "elsewhere", "unavailable", "full", "misconfigured"}[c]
}

// marks says what each class's errors wrap.
var marks = [...]error{classElsewhere: ErrUnavailable, classUnavailable: ErrUnavailable, classFull: ErrFull, classMisconfigured: ErrMisconfigured}

// refusal is a reply that says that the server does not serve. Its beginning
// tells it from others.
type refusal struct {
	prefix  string
	class   class
	command string // the only one that it is the reply to; empty: any
}

// refusals are all of them, as Redis 7 words them. "ERR " before the prefix
// is passed over.
var refusals = []refusal{
	{"READONLY", classElsewhere, ""},                      // a write on a replica: the master is another by now
	{"LOADING", classElsewhere, ""},                       // it reads its data set
	{"MASTERDOWN", classElsewhere, ""},                    // a replica without its master that serves no stale data
	{"BUSY ", classElsewhere, ""},                         // a script does not end; BUSYGROUP and BUSYKEY are answers
	{"max number of clients reached", classElsewhere, ""}, // every process leaves it at its next connection

	{"NOREPLICAS", classUnavailable, ""},  // fewer replicas than min-replicas-to-write
	{"CLUSTERDOWN", classUnavailable, ""}, // a node of Redis Cluster that has lost the others
	{"TRYAGAIN", classUnavailable, ""},    // one that hands keys over
	{"EXECABORT", classUnavailable, ""},   // a command of a transaction was refused when it was queued

	{"OOM", classFull, ""},     // maxmemory is used up and nothing may be evicted
	{"MISCONF", classFull, ""}, // a snapshot failed and writes are stopped: mostly a full disk

	{"NOAUTH", classMisconfigured, ""},                                 // it wants a password and was given none
	{"WRONGPASS", classMisconfigured, "auth"},                          // it was given another user or password
	{"NOPERM", classMisconfigured, ""},                                 // the user may not run the command or touch the key or channel
	{"invalid password", classMisconfigured, "auth"},                   // WRONGPASS before Redis 6
	{"Client sent AUTH", classMisconfigured, "auth"},                   // it wants no password, before Redis 6
	{"AUTH <password> called without any", classMisconfigured, "auth"}, // the same since
	{"DENIED", classMisconfigured, ""},                                 // protected mode: it listens to its own machine only
	{"DB index is out of range", classMisconfigured, "select"},         // it has fewer databases than the URL's
	{"MOVED", classMisconfigured, ""},                                  // Redis Cluster, which we do not follow
	{"ASK ", classMisconfigured, ""},                                   // the same
	{"The user executing the script can't", classMisconfigured, ""},    // NOPERM inside a script
	{"unknown command", classMisconfigured, ""},                        // it is too old, or its operator has renamed the command
	{"Unknown Redis command called from script", classMisconfigured, ""},
}

// classify says what err means for the next try.
func classify(err error) class {
	if reply, ok := errors.AsType[redis.Error](err); ok {
		return classifyReply(reply.Error())
	}
	switch {
	case errors.Is(err, ErrMisconfigured) || untrusted(err):
		return classMisconfigured
	case errors.Is(err, ErrFull):
		return classFull
	case errors.Is(err, ErrUnavailable) || broken(err):
		return classElsewhere
	default:
		return classReply
	}
}

func classifyReply(reply string) class { return refusalIn(reply).class }

// repliedTo is the only command that reply may be the answer to, "" when it
// may be any.
func repliedTo(reply string) string { return refusalIn(reply).command }

// refusalIn returns the table's entry for a reply, the zero one when it is none.
func refusalIn(reply string) refusal {
	reply = cause(reply)
	for _, r := range refusals {
		if strings.HasPrefix(reply, r.prefix) {
			return r
		}
	}
	return refusal{}
}

// cause cuts from a reply what Redis puts before the one that it is about: the
// word ERR, the end of a transaction, and, before Redis 7, a script's position.
func cause(reply string) string {
	reply = strings.TrimPrefix(reply, "ERR ")
	if why, ok := strings.CutPrefix(reply, "EXECABORT Transaction discarded because of: "); ok {
		return why
	}
	if strings.HasPrefix(reply, "Error running script") {
		if _, why, ok := strings.Cut(reply, ": -"); ok {
			return why
		}
	}
	return reply
}

// broken reports that the connection failed, or that there was none to be had.
func broken(err error) bool {
	_, ofNetwork := errors.AsType[net.Error](err)
	return ofNetwork ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, redis.ErrClosed) || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted)
}

// untrusted reports that one side does not accept the other's certificate, or
// that the other side does not speak TLS.
func untrusted(err error) bool {
	_, theirs := errors.AsType[*tls.CertificateVerificationError](err)
	_, ours := errors.AsType[tls.AlertError](err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	return theirs || ours || plain
}

// unavailable reports whether err says that the server could not be reached or
// could not serve, as against a reply to the command or the caller's own error.
func unavailable(err error) bool { return classify(err) != classReply }

// passes reports whether err is worth another look at the server, because it may
// be the sign of a failover.
func passes(err error) bool {
	c := classify(err)
	return c == classElsewhere || c == classUnavailable
}

// failed says what was being done on which server, and marks err with its
// class. A caller that went away is not Redis's failure.
func failed(shard, verb, addr string, err error) error {
	mark := marks[classify(err)]
	if mark == nil || errors.Is(err, mark) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("redis %s: %s on %s: %w", shard, verb, addr, err)
	}
	return fmt.Errorf("redis %s: %s on %s: %w: %w", shard, verb, addr, mark, err)
}

// secret keeps passwords and data out of errors: a server that does not know a
// command repeats its arguments, and those of AUTH are no one's business, nor
// are those of SET.
type secret struct {
	err       error
	passwords []string
}

// repeats is what a server says before it repeats a command's arguments.
const repeats = ", with args beginning with"

// veil returns err, or one that reads alike but for passwords and arguments.
func veil(err error, passwords ...string) error {
	if err == nil {
		return nil
	}
	if s := (secret{err, passwords}); s.Error() != err.Error() {
		return s
	}
	return err
}

func (s secret) Error() string {
	text, _, _ := strings.Cut(s.err.Error(), repeats)
	for _, p := range s.passwords {
		if p != "" {
			text = strings.ReplaceAll(text, p, "(password)")
		}
	}
	return text
}

func (s secret) Unwrap() error { return s.err }
