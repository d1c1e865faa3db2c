package dlr

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"
)

// Token is the capability to report on one batch: it goes into the URL that a
// gateway is told to call for that batch, and nobody without the secret can make
// one. It is good for that account and batch only.
func Token(secret, account, batchID string) string {
	return batchID + "." + hex.EncodeToString(sum(secret, account, batchID))
}

// BatchOf returns the batch that a token was made for, by any of the account's
// secrets. It takes the same time whichever of them fits, or none.
func BatchOf(secrets []string, account, token string) (batchID string, ok bool) {
	batchID, given, found := strings.Cut(token, ".")
	mac, err := hex.DecodeString(given)
	if !found || err != nil || batchID == "" || len(token) > maxToken {
		return "", false
	}
	fits := 0
	for _, s := range secrets {
		fits |= subtle.ConstantTimeCompare(sum(s, account, batchID), mac)
	}
	if fits == 0 {
		return "", false
	}
	return batchID, true
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
