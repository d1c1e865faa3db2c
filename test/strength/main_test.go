package strength

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/tuma-sms/tuma/test/rig"
)

// programs are what TestMain has built; set before any test runs.
var programs *rig.Rig

// figures are what the tests measured, in order.
var figures struct {
	sync.Mutex
	rows [][3]string
}

func TestMain(m *testing.M) {
	if os.Getenv(timersEnv) != "" {
		keepTime()
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	r, closing, err := rig.Open()
	if err != nil {
		fmt.Fprintln(os.Stderr, "strength:", err)
		return 1
	}
	defer closing()
	programs = r
	eager()
	code := m.Run()
	table()
	return code
}

// TestStrength runs what this package proves, one after the other: two at once
// would disturb each other. At the small size it runs some.
func TestStrength(t *testing.T) {
	for _, s := range []struct {
		name  string
		run   func(*testing.T)
		small bool
	}{
		{"full batches", fullBatches, true},
		{"one bad recipient", oneBadRecipient, true},
		{"at once", atOnce, true},
		{"slots under change", slotsUnderChange, true},
		{"fast account", fastAccount, false},
		{"stacked limits", stackedLimits, false},
		{"limiter models", limiterModels, false},
		{"throttled", throttled, false},
		{"slow gateway", slowGateway, false},
		{"gateway away", gatewayAway, false},
		{"redis dies", redisDies, false},
		{"redis gone for one", redisGoneForOne, false},
		{"urgent first", urgentFirst, true},
		{"tenants share", tenantsShare, true},
		{"nothing stale", nothingStale, false},
		{"metrics tell", metricsTell, false},
	} {
		if s.small || full() {
			t.Run(s.name, s.run)
		}
	}
}

// full reports whether the tests run at full size.
func full() bool { return os.Getenv("TUMA_STRENGTH") == "full" }

// size is how much of something a test uses.
func size(fullSize, small int) int {
	if full() {
		return fullSize
	}
	return small
}

// figure adds a row to the table that is printed at the end.
func figure(t *testing.T, what, wanted, format string, args ...any) {
	t.Helper()
	got := fmt.Sprintf(format, args...)
	figures.Lock()
	defer figures.Unlock()
	figures.rows = append(figures.rows, [3]string{what, wanted, got})
	t.Logf("%s: %s (wanted: %s)", what, got, wanted)
}

func table() {
	figures.Lock()
	defer figures.Unlock()
	if len(figures.rows) == 0 {
		return
	}
	fmt.Printf("\n%-66s %-28s %s\n", "what", "wanted", "measured")
	for _, r := range figures.rows {
		fmt.Printf("%-66s %-28s %s\n", r[0], r[1], r[2])
	}
}
