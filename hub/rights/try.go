package rights

import (
	"context"
	_ "embed"
	"errors"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
)

//go:embed lua/try.lua
var trySource string

// noScript is the digest of no script.
const noScript = "0000000000000000000000000000000000000000"

// try returns which of the commands the server refuses to c's user, in their
// order. The error says that it could not be asked. c is not good for anything
// else after that: a transaction may have been left open.
//
// What the hub asks for as it begins, or may not come inside a script without
// changing anything, is not tried: ping, info, select and subscribe tell by
// themselves.
func try(ctx context.Context, c *redis.Client, keys hub.Keys, commands []string) ([]string, error) {
	direct := map[string]*redis.Cmd{}
	conn := c.Conn()
	defer conn.Close()
	pipe := conn.Pipeline()
	scripted, args := inScript(keys, commands)
	direct["eval"] = pipe.Do(ctx, args...)
	for _, d := range [][]any{
		{"evalsha", noScript, 0}, {"wait", 0, 1}, {"multi"}, {"exec"},
	} {
		if name, _ := d[0].(string); slices.Contains(commands, name) {
			direct[name] = pipe.Do(ctx, d...)
		}
	}
	if slices.Contains(commands, "script|load") {
		direct["script|load"] = pipe.Do(ctx, "script", "load", "return 0")
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	var missing []string
	for _, name := range commands {
		cmd := direct[name]
		if cmd == nil || cmd.Err() == nil {
			continue
		}
		if _, ok := errors.AsType[redis.Error](cmd.Err()); !ok {
			return nil, cmd.Err()
		}
		if refused(cmd.Err().Error()) {
			missing = append(missing, name)
		}
	}
	if direct["eval"].Err() == nil {
		missing = append(missing, unscripted(scripted, direct["eval"])...)
	}
	slices.Sort(missing)
	return missing, nil
}

// inScript returns those of the commands that are tried inside a script, and
// the call of that script.
func inScript(keys hub.Keys, commands []string) (tried []string, call []any) {
	call = []any{"eval", trySource, 1, keys.Rights(), keys.Rights()}
	for _, name := range commands {
		if words, ok := harmless[name]; ok {
			tried, call = append(tried, name), append(call, words)
		}
	}
	return tried, call
}

// unscripted returns those of tried that said refuses.
func unscripted(tried []string, said *redis.Cmd) (missing []string) {
	replies, err := said.StringSlice()
	if err != nil {
		return nil
	}
	for i, reply := range replies {
		if i < len(tried) && refused(reply) {
			missing = append(missing, tried[i])
		}
	}
	return missing
}
