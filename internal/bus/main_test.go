package bus_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// The tests wait for servers and their silence far more than they compute. -parallel
// says otherwise.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "8")
	goleak.VerifyTestMain(m)
}
