package cli

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"

	"github.com/spf13/cobra"
)

func (t *tuma) keyCommand() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "API keys", Args: cobra.NoArgs, RunE: helpOnly}
	c.AddCommand(t.jsonFlag(&cobra.Command{
		Use:   "new",
		Short: "Make an API key",
		Long:  "new prints a random key and its SHA-256. The key is for the client; the hash goes\ninto the config (ingest.tenants, keys_sha256). The key is kept nowhere.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			key, hash := newKey()
			if t.json {
				b, err := json.Marshal(map[string]string{"key": key, "sha256": hash})
				t.printf("%s\n", b)
				return failed(err)
			}
			t.printf("key     %s\nsha256  %s\n", key, hash)
			return nil
		},
	}))
	return c
}

// newKey returns 256 random bits with a prefix that secret scanners can know.
func newKey() (key, hash string) {
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	key = "tuma_" + base64.RawURLEncoding.EncodeToString(b[:])
	sum := sha256.Sum256([]byte(key))
	return key, hex.EncodeToString(sum[:])
}

// helpOnly is a command that has only subcommands.
func helpOnly(c *cobra.Command, _ []string) error { return c.Help() }
