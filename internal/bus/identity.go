package bus

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
)

// ErrCredentials says that the credentials file cannot be used.
var ErrCredentials = errors.New("bus: credentials")

// identity is how this connection says who it is, and over what.
func identity(o Options) ([]nats.Option, error) {
	var opts []nats.Option
	if o.Credentials != "" {
		opt, err := credentials(o.Credentials)
		if err != nil {
			return nil, err
		}
		opts = append(opts, opt)
	}
	if o.User != "" {
		opts = append(opts, nats.UserInfo(o.User, o.Password))
	}
	if o.TLS != nil {
		opts = append(opts, nats.Secure(o.TLS))
	}
	if o.Inbox != "" {
		opts = append(opts, nats.CustomInboxPrefix(o.Inbox))
	}
	return opts, nil
}

// credentials reads which of the two kinds a file is. It looks now, so that a
// wrong path is an error of the start. A JWT is read again at every connection, so
// that a new one is used without a restart; of an nkey the client keeps the public
// half, so that another one takes a restart.
func credentials(path string) (nats.Option, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	if bytes.Contains(data, []byte("BEGIN NATS USER JWT")) {
		return nats.UserCredentials(path), nil
	}
	opt, err := nats.NkeyOptionFromSeed(path)
	if err != nil { // its words are left out: they might quote the file
		return nil, fmt.Errorf("%w: %s holds neither a NATS user's JWT nor an nkey seed", ErrCredentials, path)
	}
	return opt, nil
}

func refused(err error) bool {
	for _, e := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrNkeysNotSupported} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
