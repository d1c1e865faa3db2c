// Package config reads the one YAML file that every program takes its sections
// from. It is the only reader of files and environment: values are pushed from
// here into the other packages, which know nothing of it.
//
// An unknown key is an error, every error is one line with file, key and reason,
// and secrets are followed only when a program asks for them (Text, Secret).
package config

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Config is the whole file, with defaults filled in and every cross-check made.
// It is not changed after Load and may be read by many goroutines.
type Config struct {
	// File is where it was read from; empty for the built-in config.
	File string `yaml:"-"`

	NATS         NATS                `yaml:"nats"`
	Redis        Redis               `yaml:"redis"`
	Ingest       Ingest              `yaml:"ingest"`
	DLRCollector DLRCollector        `yaml:"dlr_collector"`
	Admin        Admin               `yaml:"admin"`
	Simulator    Simulator           `yaml:"simulator"`
	Telemetry    Telemetry           `yaml:"telemetry"`
	Accounts     map[string]*Account `yaml:"providers"`
	Routes       []Route             `yaml:"routes"`
}

// AccountNames returns the configured accounts in alphabetical order.
func (c *Config) AccountNames() []string { return slices.Sorted(maps.Keys(c.Accounts)) }

// NATS says where the bus is.
type NATS struct {
	// URL is one or more servers, separated by commas, or the word embedded for a
	// server inside this process, which only tuma up offers.
	URL URL `yaml:"url"`
	// Credentials is the path of a NATS .creds file or of a file with an nkey's
	// seed; empty: none. A JWT is read again at every connection.
	Credentials Text `yaml:"credentials,omitempty"`
	// User and Password are the other way to say who connects; empty: none.
	User     Text   `yaml:"user,omitempty"`
	Password Secret `yaml:"password,omitempty"`
	TLS      TLS    `yaml:"tls,omitempty"`
	// Replicas of every stream. Three, or one with sync: always, or acknowledged
	// messages may be lost with the machine.
	Replicas int `yaml:"replicas"`
	// JournalGiB is how large the journal may grow; 0: 64, or what the server has
	// room for. At nine tenths of it nothing is sent any more.
	JournalGiB int `yaml:"journal_gib,omitempty"`

	// Of the embedded server only.
	Listen   Text   `yaml:"listen,omitempty"`
	StoreDir Text   `yaml:"store_dir,omitempty"`
	Sync     string `yaml:"sync,omitempty"` // always, or how often to flush to disk (2m)
}

// CredentialsFile returns the path of the credentials file; empty: none.
func (n NATS) CredentialsFile() (string, error) { return n.Credentials.path() }

// Redis says where limits and idempotency keys are coordinated.
type Redis struct {
	URL URL `yaml:"url"` // or embedded
	// User and Password go before those of the URL; empty: the URL's.
	User     Text   `yaml:"user,omitempty"`
	Password Secret `yaml:"password,omitempty"`
	TLS      TLS    `yaml:"tls,omitempty"` // with rediss://
}

// TLS names the files of one encrypted connection, as paths.
type TLS struct {
	CA   Text `yaml:"ca,omitempty"`   // of who may have signed the server's certificate; empty: the system's
	Cert Text `yaml:"cert,omitempty"` // our own, for servers that ask; read again at every connection
	Key  Text `yaml:"key,omitempty"`
}

// IsZero reports whether nothing was set.
func (t TLS) IsZero() bool { return t.CA.IsZero() && t.Cert.IsZero() && t.Key.IsZero() }

// Files returns the paths, empty where nothing was set.
func (t TLS) Files() (ca, cert, key string, err error) {
	for _, f := range []struct {
		setting Text
		path    *string
	}{{t.CA, &ca}, {t.Cert, &cert}, {t.Key, &key}} {
		if *f.path, err = f.setting.path(); err != nil {
			return "", "", "", err
		}
	}
	return ca, cert, key, nil
}

// path returns the value of a setting that is a file's path itself.
func (t Text) path() (string, error) {
	if path, ok := strings.CutPrefix(t.String(), "file:"); ok {
		return path, nil
	}
	return t.Resolve()
}

// Ingest is the section of the program that takes submissions.
type Ingest struct {
	Listen  Text     `yaml:"listen"`
	Tenants []Tenant `yaml:"tenants,omitempty"`
}

// Tenant is one client of this installation.
type Tenant struct {
	Name          string `yaml:"name"`
	KeysSHA256    []Text `yaml:"keys_sha256,omitempty"`    // hex (KeyHash); a tenant without keys can only publish on the bus
	DefaultRegion string `yaml:"default_region,omitempty"` // ISO 3166 alpha-2, upper case; empty: E.164 only
	Rate          *Rate  `yaml:"rate,omitempty"`           // recipients; nil: no limit
	Operator      bool   `yaml:"operator,omitempty"`
	Transliterate bool   `yaml:"transliterate,omitempty"` // texts may go in ASCII where no account of the route carries them as written
	// Bus gives the tenant a consumer of its own on the streams of events and
	// inbound messages, for its own user of NATS.
	Bus      bool     `yaml:"bus,omitempty"`
	Senders  []string `yaml:"senders,omitempty"`  // empty: any
	Accounts []string `yaml:"accounts,omitempty"` // empty: any
}

// DLRCollector is the section of the program that providers call.
type DLRCollector struct {
	Listen    Text `yaml:"listen"`
	PublicURL Text `yaml:"public_url"` // without a trailing slash
}

// Admin is where every program answers /healthz, /readyz and /metrics.
type Admin struct {
	Listen Text `yaml:"listen"`
}

// Simulator is where tuma up and tuma simulate answer in the providers' place.
type Simulator struct {
	Listen Text `yaml:"listen,omitempty"` // empty: tuma up starts none
}

// Telemetry says where traces go.
type Telemetry struct {
	OTLP   URL     `yaml:"otlp,omitempty"` // base URL of an OTLP/HTTP receiver; empty: none
	Sample float64 `yaml:"sample"`         // share of traces kept, 0 to 1
}

// Account is one login at one provider.
type Account struct {
	Name          string            `yaml:"-"`
	Type          string            `yaml:"type"`
	BaseURL       Text              `yaml:"base_url"`
	AllowHTTP     bool              `yaml:"allow_http,omitempty"`
	Credentials   map[string]Secret `yaml:"credentials,omitempty"`
	Rate          Rates             `yaml:"rate"`
	Batch         Batch             `yaml:"batch"`
	Concurrency   int               `yaml:"concurrency"` // requests in flight per dispatcher
	Timeout       Duration          `yaml:"timeout"`     // of one request
	Breaker       Breaker           `yaml:"breaker"`
	CallbackToken Secrets           `yaml:"callback_token,omitempty"`
	Inbound       map[string]string `yaml:"inbound,omitempty"` // number -> tenant
	Poll          Poll              `yaml:"poll"`
	OnUncertain   string            `yaml:"on_uncertain,omitempty"` // hold, retry; empty: by priority
	Options       map[string]any    `yaml:"options,omitempty"`

	// Login is the alphabetically first account with the same type, base URL and
	// credentials. A provider counts logins, so accounts of one login share its
	// limit.
	Login string `yaml:"-"`
}

// Batch says how many messages share one request, and how long the first waits
// for the others while there is a backlog.
type Batch struct {
	Size   int      `yaml:"size"`
	Linger Duration `yaml:"linger"`
}

// Breaker opens after Failures in a row and stays open for OpenFor.
type Breaker struct {
	Failures int      `yaml:"failures"`
	OpenFor  Duration `yaml:"open_for"`
}

// Poll says when an account without callbacks is first asked for reports, and
// how often after that.
type Poll struct {
	After Duration `yaml:"after"`
	Every Duration `yaml:"every"`
}

// Route sends numbers with a prefix to accounts, tried in order. The longest
// prefix wins. With weights, each number has one of the accounts first, in these
// proportions, and the others after it.
type Route struct {
	Prefix   string   `yaml:"prefix"` // + and digits; + alone is every number
	Accounts []string `yaml:"providers"`
	Weights  []int    `yaml:"weights,omitempty"` // one for each account
	Refuse   bool     `yaml:"refuse,omitempty"`  // no account may carry these numbers, named or not
}

// TypeDefaults is what config must know of a provider type; the caller passes
// them in, so that config imports no provider.
type TypeDefaults struct {
	BaseURL     string
	Batch       int           // recipients of one request unless configured
	MaxBatch    int           // the most that one request may carry
	Rate        int           // requests per second unless configured
	Credentials []string      // the keys that credentials may have
	LookUp      time.Duration // first look-up unless configured; 0: a minute
}
