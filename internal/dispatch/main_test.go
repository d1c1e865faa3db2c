package dispatch_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// The tests wait for servers, leases and pauses far more than they compute. -parallel
// says otherwise.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "8")
	goleak.VerifyTestMain(m)
}
