package app

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/config"
)

// natsLogin says where the bus is and who connects. Each program has answers come
// to subjects of its own name: deploy/nats/accounts.conf permits it no others.
func natsLogin(cfg *config.Config, program string, o *bus.Options) (err error) {
	n := &cfg.NATS
	o.Inbox = "_INBOX_" + program
	if o.URL, err = n.URL.Resolve(); err != nil {
		return err
	}
	if o.Credentials, err = n.CredentialsFile(); err != nil {
		return err
	}
	if o.User, err = n.User.Resolve(); err != nil {
		return err
	}
	if o.Password, err = n.Password.Resolve(); err != nil {
		return err
	}
	if n.TLS.IsZero() {
		return nil
	}
	o.TLS, err = encryption(cfg.File, "nats", n.TLS)
	return err
}

// redisLogin adds to what the URL says who connects, and over what.
func redisLogin(cfg *config.Config, o *redis.Options) error {
	r := &cfg.Redis
	user, err := r.User.Resolve()
	if err != nil {
		return err
	}
	password, err := r.Password.Resolve()
	if err != nil {
		return err
	}
	if password != "" {
		o.Username, o.Password = user, password
	}
	if r.TLS.IsZero() {
		return nil
	}
	if o.TLSConfig == nil {
		return &config.Error{File: cfg.File, Key: "redis.tls", Reason: "goes only with a rediss:// URL"}
	}
	t, err := encryption(cfg.File, "redis", r.TLS)
	if err != nil {
		return err
	}
	t.ServerName = o.TLSConfig.ServerName
	o.TLSConfig = t
	return nil
}

// redisTrouble says in words that repeat nothing why Redis does not do what it is
// asked. What it answers begins with a code: WRONGPASS, NOAUTH, NOPERM, READONLY,
// LOADING. It hangs up on who is not let in at all.
func redisTrouble(err error) string {
	var answered redis.Error
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &answered):
		code, _, _ := strings.Cut(answered.Error(), " ")
		return "refused: " + code
	case errors.As(err, &untrusted):
		return "its certificate is not trusted"
	}
	return "out of reach"
}

// encryption reads the files of a section's tls. They are read here once, so that
// a wrong one is an error of the start; our own certificate is read again at
// every connection, so that a new one is used without a restart.
func encryption(file, section string, t config.TLS) (*tls.Config, error) {
	ca, cert, key, err := t.Files()
	if err != nil {
		return nil, err
	}
	wrong := func(name, path string) error { // the cause may quote the file
		return &config.Error{File: file, Key: section + ".tls." + name, Reason: path + " cannot be read or holds none"}
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		out.RootCAs = x509.NewCertPool()
		if err != nil || !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, wrong("ca", ca)
		}
	}
	if cert == "" {
		return out, nil
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		return &pair, err
	}
	if _, err := load(); err != nil {
		return nil, wrong("cert", cert)
	}
	out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return out, nil
}
