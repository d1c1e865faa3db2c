package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/jwt/v2"
	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/internal/testkit/pki"
)

// natsServer starts a server with o and returns its URL.
func natsServer(t *testing.T, o *natsd.Options) string {
	t.Helper()
	o.Host, o.Port, o.NoSigs, o.NoLog, o.JetStream, o.StoreDir = "127.0.0.1", -1, true, true, true, t.TempDir()
	s, err := natsd.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	return s.ClientURL()
}

func parse(t *testing.T, text string, args ...any) *config.Config {
	t.Helper()
	c, err := config.Parse("tuma.yaml", fmt.Appendf(nil, text, args...), TypeDefaults(), func(name string) (string, bool) {
		return "s3cret-from-env", name == "PASSWORD"
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reaches reports whether a program with this config gets to work on the bus.
func reaches(t *testing.T, c *config.Config) error {
	t.Helper()
	b, err := connectBus(cli.Params{Name: "ingest", Config: c}, nil, nil)
	if err != nil {
		return err
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := b.WaitConnected(ctx); err != nil {
		return errors.New(b.Trouble())
	}
	_, err = b.Server(ctx)
	return err
}

func user(t *testing.T) (public string, seed []byte) {
	t.Helper()
	k, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, _ = k.PublicKey()
	seed, _ = k.Seed()
	return public, seed
}

func file(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNATSNkeyOverTLS(t *testing.T) {
	t.Parallel()
	public, seed := user(t)
	_, foreign := user(t)
	ca, other := pki.New(t), pki.New(t)
	cert, key := ca.Issue("ingest")
	url := natsServer(t, &natsd.Options{Nkeys: []*natsd.NkeyUser{{Nkey: public}}, TLSConfig: ca.Server(), TLS: true, TLSTimeout: 5})
	const text = "nats: {url: %q, credentials: %q, tls: {ca: %q, cert: %q, key: %q}}"
	if err := reaches(t, parse(t, text, url, file(t, seed), ca.File, cert, key)); err != nil {
		t.Error(err)
	}
	otherCert, otherKey := other.Issue("stranger")
	for what, c := range map[string]*config.Config{
		"another's seed":                parse(t, text, url, file(t, foreign), ca.File, cert, key),
		"no seed":                       parse(t, "nats: {url: %q, tls: {ca: %q, cert: %q, key: %q}}", url, ca.File, cert, key),
		"a server of another authority": parse(t, text, url, file(t, seed), other.File, cert, key),
		"another's certificate":         parse(t, text, url, file(t, seed), ca.File, otherCert, otherKey),
		"no certificate":                parse(t, "nats: {url: %q, credentials: %q, tls: {ca: %q}}", url, file(t, seed), ca.File),
		"the system's authorities":      parse(t, "nats: {url: %q, credentials: %q}", strings.Replace(url, "nats://", "tls://", 1), file(t, seed)),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			if err := reaches(t, c); err == nil {
				t.Error("it connects")
			}
		})
	}
}

func TestNATSPassword(t *testing.T) {
	t.Parallel()
	url := natsServer(t, &natsd.Options{Users: []*natsd.User{{Username: "ingest", Password: "s3cret-from-env"}}})
	host := strings.TrimPrefix(url, "nats://")
	for _, text := range []string{"nats: {url: 'nats://%s', user: ingest, password: '${PASSWORD}'}", "nats: {url: 'nats://ingest:${PASSWORD}@%s'}"} {
		if err := reaches(t, parse(t, text, host)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	err := reaches(t, parse(t, "nats: {url: %q, user: ingest, password: wrong-and-secret}", url))
	if err == nil || err.Error() != "credentials refused" {
		t.Errorf("wrong password: %v", err)
	}
}

func TestNATSCredsFile(t *testing.T) {
	t.Parallel()
	operator, _ := nkeys.CreateOperator()
	account, _ := nkeys.CreateAccount()
	system, _ := nkeys.CreateAccount()
	public, seed := user(t)
	o, a, s := mustPublic(t, operator), mustPublic(t, account), mustPublic(t, system)
	claims := jwt.NewAccountClaims(a)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	accountJWT := encode(t, claims, operator)
	systemJWT := encode(t, jwt.NewAccountClaims(s), operator)
	userJWT := encode(t, jwt.NewUserClaims(public), account)
	resolver := &natsd.MemAccResolver{}
	if err := errors.Join(resolver.Store(a, accountJWT), resolver.Store(s, systemJWT)); err != nil {
		t.Fatal(err)
	}
	url := natsServer(t, &natsd.Options{TrustedKeys: []string{o}, AccountResolver: resolver, SystemAccount: s})
	creds, err := jwt.FormatUserConfig(userJWT, seed)
	if err != nil {
		t.Fatal(err)
	}
	if err := reaches(t, parse(t, "nats: {url: %q, credentials: %q}", url, file(t, creds))); err != nil {
		t.Error(err)
	}
	if err := reaches(t, parse(t, "nats: {url: %q, credentials: %q}", url, "file:"+file(t, creds))); err != nil {
		t.Errorf("written as file:/path: %v", err)
	}
	_, foreign := user(t)
	creds, _ = jwt.FormatUserConfig(userJWT, foreign)
	if err := reaches(t, parse(t, "nats: {url: %q, credentials: %q}", url, file(t, creds))); err == nil {
		t.Error("another's seed signs for the JWT")
	}
}

func encode(t *testing.T, c jwt.Claims, by nkeys.KeyPair) string {
	t.Helper()
	text, err := c.Encode(by)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func mustPublic(t *testing.T, k nkeys.KeyPair) string {
	t.Helper()
	public, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// A program that was refused comes in once the server knows it: credentials are
// often mended on the other side.
func TestNATSRefusedTriesAgain(t *testing.T) {
	t.Parallel()
	public, seed := user(t)
	other, _ := user(t)
	o := &natsd.Options{Nkeys: []*natsd.NkeyUser{{Nkey: other}}}
	o.Host, o.Port, o.NoSigs, o.NoLog = "127.0.0.1", -1, true, true
	s, err := natsd.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	b, err := connectBus(cli.Params{Name: "ingest", Config: parse(t, "nats: {url: %q, credentials: %q}", s.ClientURL(), file(t, seed))}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	deadline := time.Now().Add(20 * time.Second)
	refusals := 0
	for ; refusals < 30 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) { // several tries, 250 ms apart
		if b.Trouble() == "credentials refused" {
			refusals++
		}
	}
	o = o.Clone()
	o.Nkeys = []*natsd.NkeyUser{{Nkey: public}}
	o.Port = s.Addr().(*net.TCPAddr).Port
	if err := s.ReloadOptions(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := b.WaitConnected(ctx); err != nil || refusals == 0 {
		t.Errorf("%v after %d refusals, now %q", err, refusals, b.Trouble())
	}
}

func TestRedisLogin(t *testing.T) {
	t.Parallel()
	m := miniredis.NewMiniRedis()
	ca, other := pki.New(t), pki.New(t)
	cert, key := ca.Issue("ingest")
	if err := m.StartTLS(ca.Server()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	m.RequireUserAuth("tuma", "s3cret-from-env")
	const files = ", tls: {ca: %q, cert: %q, key: %q}}"
	ping := func(c *config.Config) error {
		r, err := connectRedis(c, "")
		if err != nil {
			return err
		}
		defer r.Close()
		return r.Ping(t.Context()).Err()
	}
	for _, text := range []string{"redis: {url: 'rediss://%s/0', user: tuma, password: '${PASSWORD}'" + files, "redis: {url: 'rediss://tuma:${PASSWORD}@%s/0'" + files} {
		if err := ping(parse(t, text, m.Addr(), ca.File, cert, key)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	const right = "redis: {url: 'rediss://%s/0', user: tuma, password: '${PASSWORD}'" + files
	for what, c := range map[string]struct {
		cfg  *config.Config
		says string
	}{
		"a wrong password":              {parse(t, "redis: {url: 'rediss://%s/0', user: tuma, password: wrong"+files, m.Addr(), ca.File, cert, key), "refused: WRONGPASS"},
		"another user":                  {parse(t, "redis: {url: 'rediss://%s/0', user: other, password: '${PASSWORD}'"+files, m.Addr(), ca.File, cert, key), "refused: WRONGPASS"},
		"no password":                   {parse(t, "redis: {url: 'rediss://%s/0'"+files, m.Addr(), ca.File, cert, key), "refused: NOAUTH"},
		"a server of another authority": {parse(t, right, m.Addr(), other.File, cert, key), "its certificate is not trusted"},
		"no certificate":                {parse(t, "redis: {url: 'rediss://%s/0', user: tuma, password: '${PASSWORD}', tls: {ca: %q}}", m.Addr(), ca.File), "out of reach"},
		"no encryption":                 {parse(t, "redis: {url: 'redis://%s/0', user: tuma, password: '${PASSWORD}'}", m.Addr()), "out of reach"},
	} {
		if err := ping(c.cfg); err == nil {
			t.Errorf("with %s it answers", what)
		} else if got := redisTrouble(err); got != c.says {
			t.Errorf("with %s: %q, want %q", what, got, c.says)
		}
	}
}

// What is wrong with a file is told with its key, at the start, and quotes nothing.
func TestLoginFilesAreCheckedAtTheStart(t *testing.T) {
	t.Parallel()
	const canary = "Canary-9931-in-a-file"
	bad := file(t, []byte(canary))
	for key, text := range map[string]string{
		"nats.credentials": "nats: {credentials: %q}",
		"nats.tls.ca":      "nats: {tls: {ca: %q}}",
		"nats.tls.cert":    "nats: {tls: {cert: %[1]q, key: %[1]q}}",
		"redis.tls.ca":     "redis: {url: 'rediss://x:1/0', tls: {ca: %q}}",
	} {
		for _, path := range []string{bad, "/there/is/none"} {
			c := parse(t, text, path)
			b, err := connectBus(cli.Params{Name: "ingest", Config: c}, nil, nil)
			if err == nil {
				b.Close()
				_, err = connectRedis(c, "")
			}
			var ce *config.Error
			if !errors.As(err, &ce) || ce.Key != key || strings.Contains(err.Error(), canary) {
				t.Errorf("%s: %v", key, err)
			}
		}
	}
}
