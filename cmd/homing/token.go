package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
)

type tokenCmd struct {
	Player tokenPlayerCmd `cmd:"" help:"Make a player's token (a JWT signed with HS256)."`
	Key    tokenKeyCmd    `cmd:"" help:"Make an API key for a game backend."`
	Secret tokenSecretCmd `cmd:"" help:"Make a secret that signs player tokens."`
}

type tokenPlayerCmd struct {
	User       string        `arg:"" help:"The user that the token stands for."`
	Service    string        `help:"The game that the player connects from ('svc' claim)."`
	TTL        time.Duration `name:"ttl" help:"How long the token is valid." default:"1h"`
	SecretFile string        `help:"File with the secret that the front servers check tokens against." required:"" type:"existingfile"`
}

func (c *tokenPlayerCmd) Run(s streams) error {
	secret, err := os.ReadFile(c.SecretFile)
	if err != nil {
		return fmt.Errorf("--secret-file: %w", err)
	}
	id := auth.Identity{User: hub.UserID(c.User), Service: hub.Service(c.Service)}
	if err := id.User.Check(); err != nil {
		return err
	}
	token, err := auth.Mint(bytes.TrimRight(secret, "\r\n"), id, c.TTL)
	if err != nil {
		return fmt.Errorf("sign the token of %s: %w", c.User, err)
	}
	_, err = fmt.Fprintln(s.out, token)
	return err
}

type tokenKeyCmd struct {
	Name   string         `help:"Who will use the key, as it appears in logs and metrics." required:""`
	Scopes []apikey.Scope `help:"What the key may do." default:"notify,broadcast,presence,disconnect"`
	File   string         `help:"YAML file of API keys that the new key is added to; empty: print its entry." type:"path"`
}

// Help is shown below the flags.
func (*tokenKeyCmd) Help() string {
	return `The key itself is printed once and stored nowhere: the file holds its hash.`
}

func (c *tokenKeyCmd) Run(s streams) error {
	key, spec, err := apikey.Generate(c.Name, c.Scopes)
	if err != nil {
		return err
	}
	if c.File == "" {
		fmt.Fprintf(s.err, "Add this entry to the file of API keys (--api-keys):\n%s\nThe key, shown only now:\n", spec.YAML())
		_, err = fmt.Fprintln(s.out, key)
		return err
	}
	if err := addKey(c.File, spec); err != nil {
		return err
	}
	fmt.Fprintf(s.err, "Added the hash of key %q to %s. The key, shown only now:\n", c.Name, c.File)
	_, err = fmt.Fprintln(s.out, key)
	return err
}

type tokenSecretCmd struct{}

func (tokenSecretCmd) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, newSecret())
	return err
}

// addKey adds spec to the end of a file of API keys that only its owner may
// read, making the file when there is none.
func addKey(name string, spec apikey.Spec) (err error) {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	entry := spec.YAML()
	if st, err := f.Stat(); err == nil && st.Size() == 0 {
		entry = "keys:\n" + entry
	}
	_, err = f.WriteString(entry)
	return err
}
