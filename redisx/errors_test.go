package redisx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// reply is an error as a server sends it.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

// replies are what Redis 7 says, and before it where that differs.
var replies = map[reply]class{
	"ERR syntax error": classReply,
	"NOSCRIPT No matching script. Please use EVAL.":                                  classReply,
	"WRONGTYPE Operation against a key holding the wrong kind of value":              classReply,
	"BUSYGROUP Consumer Group name already exists":                                   classReply,
	"BUSYKEY Target key name already exists.":                                        classReply,
	"ERR unknown command 'EVAL', with args beginning with: ":                         classMisconfigured,
	"ERR Script killed by user with SCRIPT KILL... script: 694a, on @user_script:1.": classReply,

	"READONLY You can't write against a read only replica.":                                        classElsewhere,
	"READONLY You can't write against a read only replica. script: ff96, on @user_script:1.":       classElsewhere,
	"ERR Error running script (call to f_ff96): @user_script:1: -READONLY You can't write against": classElsewhere,
	"LOADING Redis is loading the dataset in memory":                                               classElsewhere,
	"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.":             classElsewhere,
	"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.":       classElsewhere,
	"ERR max number of clients reached":                                                            classElsewhere,

	"NOREPLICAS Not enough good replicas to write.":                                 classUnavailable,
	"CLUSTERDOWN The cluster is down":                                               classUnavailable,
	"TRYAGAIN Multiple keys request during rehashing of slot":                       classUnavailable,
	"EXECABORT Transaction discarded because of previous errors.":                   classUnavailable,
	"EXECABORT Transaction discarded because of: NOREPLICAS Not enough good":        classUnavailable,
	"EXECABORT Transaction discarded because of: OOM command not allowed when":      classFull,
	"OOM command not allowed when used memory > 'maxmemory'.":                       classFull,
	"OOM command not allowed when used memory > 'maxmemory'. script: ff96, on @u:1": classFull,
	"MISCONF Redis is configured to save RDB snapshots, but it's currently unable":  classFull,

	"NOAUTH Authentication required.":                                                     classMisconfigured,
	"WRONGPASS invalid username-password pair or user is disabled.":                       classMisconfigured,
	"NOPERM this user has no permissions to run the 'get' command":                        classMisconfigured,
	"ERR The user executing the script can't run this command or subcommand script: 2267": classMisconfigured,
	"ERR Unknown Redis command called from script script: bfc6, on @user_script:18.":      classMisconfigured,
	"ERR invalid password":                         classMisconfigured,
	"ERR Client sent AUTH, but no password is set": classMisconfigured,
	"ERR AUTH <password> called without any password configured for the default user. Are you": classMisconfigured,
	"DENIED Redis is running in protected mode because protected mode is enabled":              classMisconfigured,
	"ERR DB index is out of range": classMisconfigured,
	"MOVED 3999 127.0.0.1:6381":    classMisconfigured,
	"ASK 3999 127.0.0.1:6381":      classMisconfigured,
}

// Every entry of the table is met by a real reply, and callers see its class.
func TestReplies(t *testing.T) {
	t.Parallel()
	met := map[string]bool{}
	for r, want := range replies {
		if got := classify(fmt.Errorf("wrapped: %w", r)); got != want {
			t.Errorf("%s: %s, want %s", r, got, want)
		}
		for _, e := range refusals {
			met[e.prefix] = met[e.prefix] || strings.HasPrefix(cause(string(r)), e.prefix)
		}
		seen := failed("m", "write", "a:1", r)
		for mark, marked := range map[error]bool{
			ErrUnavailable: want != classReply, ErrFull: want == classFull, ErrMisconfigured: want == classMisconfigured,
		} {
			if errors.Is(seen, mark) != marked {
				t.Errorf("%v: %v is %v, want %v", seen, mark, !marked, marked)
			}
		}
	}
	for _, e := range refusals {
		if !met[e.prefix] {
			t.Errorf("no reply in the test begins with %q", e.prefix)
		}
	}
}

// Failures that are no replies.
func TestFailures(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]class{
		redis.Nil:                   classReply,
		errors.New("of the caller"): classReply,
		redis.ErrCrossSlot:          classReply,
		context.Canceled:            classReply,
		redis.ErrClosed:             classElsewhere,
		redis.ErrPoolTimeout:        classElsewhere,
		context.DeadlineExceeded:    classElsewhere,
		io.EOF:                      classElsewhere,
		io.ErrUnexpectedEOF:         classElsewhere,
		net.ErrClosed:               classElsewhere,
		&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}: classElsewhere,
		ErrNoMaster:  classElsewhere,
		ErrWrongRole: classElsewhere,
		ErrNotCopied: classElsewhere,
		ErrFull:      classFull,
		&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}: classMisconfigured,
		&net.OpError{Op: "remote error", Err: tls.AlertError(42)}:            classMisconfigured,
	} {
		if got := classify(fmt.Errorf("wrapped: %w", err)); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	if err := failed("m", "write", "a:1", &net.OpError{Op: "read", Err: context.Canceled}); errors.Is(err, ErrUnavailable) {
		t.Errorf("%v: a caller that went away counts as unavailable", err)
	}
}

// A server that does not know AUTH repeats the password. We do not.
func TestVeil(t *testing.T) {
	t.Parallel()
	d := &dialect{target: &target{password: "p4ss"}}
	err := d.veil(fmt.Errorf("failed to authenticate: %w", reply("ERR unknown command 'AUTH', with args beginning with: 'p4ss' ")))
	if strings.Contains(err.Error(), "p4ss") || !strings.Contains(err.Error(), "unknown command") {
		t.Errorf("error %q", err)
	}
	if err := d.veil(reply("ERR unknown command 'SET', with args beginning with: 'k' 'a payload' ")); err.Error() != "ERR unknown command 'SET'" {
		t.Errorf("%v, want it without the arguments", err)
	}
	if !redis.HasErrorPrefix(err, "unknown command") {
		t.Errorf("%v is no reply any more", err)
	}
	if plain := errors.New("plain"); d.veil(plain) != plain { //nolint:errorlint // the very same is wanted
		t.Error("an error without the password was changed")
	}
}
