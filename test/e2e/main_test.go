package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/tuma-sms/tuma/test/rig"
)

// programs is what TestMain has built; set before any test runs.
var programs *rig.Rig

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	r, closing, err := rig.Open()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer closing()
	programs = r
	return m.Run()
}

// few returns how many messages a story uses: short under -short.
func few(full, short int) int {
	if testing.Short() {
		return short
	}
	return full
}

// cluster and running are the rig's, with what these stories ask of them.
type cluster struct{ *rig.Cluster }

type running struct{ *rig.Running }

func up(t *testing.T, s rig.Settings, dispatchers int) running {
	t.Helper()
	return running{programs.Up(t, s, dispatchers)}
}
