package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binDir is where TestMain has put the programs; set before any test runs.
var binDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tuma-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if built := os.Getenv("TUMA_E2E_BIN"); built != "" {
		binDir = built
		return m.Run()
	}
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	binDir = dir
	return m.Run()
}

// build builds the four programs, and the NATS server of the version that go.mod
// names.
func build(dir string) error {
	args := []string{"build", "-ldflags", "-s -w", "-o", dir, "../../cmd/ingest", "../../cmd/dispatcher", "../../cmd/dlr-collector", "../../cmd/tuma", "github.com/nats-io/nats-server/v2"}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

func program(name string) string { return filepath.Join(binDir, name) }

// few returns how many messages a story uses: short under -short.
func few(full, short int) int {
	if testing.Short() {
		return short
	}
	return full
}
