package app

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
)

type tokenCmd struct {
	Player tokenPlayerCmd `cmd:"" help:"Make a player's token (a JWT signed with HS256)."`
	Key    tokenKeyCmd    `cmd:"" help:"Make, list, change and revoke API keys of game backends."`
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

type tokenSecretCmd struct{}

func (tokenSecretCmd) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, newSecret())
	return err
}
