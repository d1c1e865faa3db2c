package dlr

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"strings"
	"sync"
)

// Token is the capability to report on one batch: it goes into the URL that a
// gateway is told to call for that batch, and nobody without the secret can make
// one. It is good for that account and batch only.
func Token(secret, account, batchID string) string {
	return batchID + "." + hex.EncodeToString(sum(secret, account, batchID))
}

const (
	macBytes = 16
	maxToken = 200
)

func sum(secret, account, batchID string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(account + "/" + batchID))
	return mac.Sum(nil)[:macBytes]
}

// Capabilities tells the tokens of one account that are good. It is safe for
// concurrent use.
type Capabilities struct {
	account string
	secrets []*sync.Pool // of *keyed: to prepare a key costs as much again as to use it
}

// keyed is a secret that is ready for use, and room for what is made with it.
type keyed struct {
	mac hash.Hash
	in  []byte
	out [sha256.Size]byte
}

// NewCapabilities returns those that any of the secrets made for an account.
func NewCapabilities(secrets []string, account string) *Capabilities {
	c := &Capabilities{account: account}
	for _, s := range secrets {
		c.secrets = append(c.secrets, &sync.Pool{New: func() any { return &keyed{mac: hmac.New(sha256.New, []byte(s))} }})
	}
	return c
}

// Batch returns the batch that a token was made for, by any of the secrets. It
// takes the same time whichever of them fits, or none.
func (c *Capabilities) Batch(token string) (batchID string, ok bool) {
	batchID, given, found := strings.Cut(token, ".")
	if !found || batchID == "" || len(token) > maxToken || len(given) != 2*macBytes {
		return "", false
	}
	var mac [macBytes]byte
	if _, err := hex.Decode(mac[:], []byte(given)); err != nil {
		return "", false
	}
	fits := 0
	for _, pool := range c.secrets {
		k := pool.Get().(*keyed)
		k.in = append(append(append(k.in[:0], c.account...), '/'), batchID...)
		k.mac.Reset()
		k.mac.Write(k.in)
		fits |= subtle.ConstantTimeCompare(k.mac.Sum(k.out[:0])[:macBytes], mac[:])
		pool.Put(k)
	}
	if fits == 0 {
		return "", false
	}
	return batchID, true
}

// isSecret reports whether a token is one of the secrets, in a time that depends
// on neither. Hashes are compared, so that lengths do not show.
func isSecret(secrets []string, token string) bool {
	given, fits := sha256.Sum256([]byte(token)), 0
	for _, s := range secrets {
		want := sha256.Sum256([]byte(s))
		fits |= subtle.ConstantTimeCompare(want[:], given[:])
	}
	return fits == 1 && token != ""
}
