package front

import (
	"testing"
	"time"
)

func TestDefaultsAreValid(t *testing.T) {
	cfg := testConfig(t)
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

func TestBadSettingsAreNamed(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`front.listen: "": want an address here or in front.tls-listen`:                                              func(c *Config) { c.Listen = "" },
		`front.tls-cert: "": want a file, because front.tls-listen is set`:                                           func(c *Config) { c.TLSListen = ":8443" },
		`front.tls-key: "": want a file, because front.tls-listen is set`:                                            func(c *Config) { c.TLSListen, c.TLSCert = ":8443", "cert.pem" },
		`front.origins: "game.example.com": want scheme://host[:port], scheme://*.domain, file://, null or *`:        func(c *Config) { c.Origins = []string{"game.example.com"} },
		`front.origins: "https://a.*.example.com": want scheme://host[:port], scheme://*.domain, file://, null or *`: func(c *Config) { c.Origins = []string{"https://a.*.example.com"} },
		`front.handshake-timeout: 0s: want more than 0`:                                                              func(c *Config) { c.HandshakeTimeout = 0 },
		`front.drain-window: -1s: want 0 or more`:                                                                    func(c *Config) { c.DrainWindow = -time.Second },
		`front.ping-interval: 25h0m0s: want at most 24h`:                                                             func(c *Config) { c.PingInterval = 25 * time.Hour },
		`front.max-message: 10: want 125 to 1073741824`:                                                              func(c *Config) { c.MaxMessage = 10 },
		`front.message-burst: 0: want 1 to 32768`:                                                                    func(c *Config) { c.MessageBurst = 0 },
		`front.outbox-bytes: -1: want 1024 to 1073741824`:                                                            func(c *Config) { c.OutboxBytes = -1 },
		`front.trusted-proxies: "proxy": want an address or a prefix such as 10.0.0.0/8`:                             func(c *Config) { c.TrustedProxies = []string{"proxy"} },
		`front.trusted-proxies: []: want the addresses that send PROXY protocol headers`:                             func(c *Config) { c.TrustedProxies, c.ProxyProtocol = nil, true },
		`front.address-burst: 4: want at least a tenth of front.address-rate, 50`:                                    func(c *Config) { c.AddressBurst = 4 },
		`front.address-prefix: 0: want 1 to 128`:                                                                     func(c *Config) { c.AddressPrefix = 0 },
		`front.pending: 0: want 1 to 1048576`:                                                                        func(c *Config) { c.Pending = 0 },
		`front.handshake-limit: 1048576: want 256 to 65536`:                                                          func(c *Config) { c.HandshakeLimit = 1 << 20 },
	} {
		cfg := testConfig(t)
		change(&cfg)
		if err := cfg.Validate(); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
