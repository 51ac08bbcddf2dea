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
	Topics     []string      `help:"Topics that the connection is a member of ('topics' claim)." placeholder:"TOPIC"`
	MayJoin    []string      `help:"Topics that it may join: a topic, or the beginning of one and a star ('may_join' claim)." placeholder:"PATTERN"`
	MayPublish []string      `help:"Topics that it may publish to ('may_publish' claim)." placeholder:"PATTERN"`
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
	if len(c.Topics)+len(c.MayJoin)+len(c.MayPublish) > 0 {
		id.Topics = &auth.Topics{MayJoin: c.MayJoin, MayPublish: c.MayPublish}
		for _, name := range c.Topics {
			id.Topics.Member = append(id.Topics.Member, hub.Topic(name))
		}
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
