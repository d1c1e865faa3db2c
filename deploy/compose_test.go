package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// compose is as much of the compose file as is looked at here.
type compose struct {
	Services map[string]struct {
		Image           string
		Command         []string
		StopGracePeriod string `json:"stop_grace_period"`
		ReadOnly        bool   `json:"read_only"`
		Profiles        []string
		Ports, Volumes  []string
		Environment     map[string]string
	}
	Volumes map[string]struct{}
}

func loadCompose(t *testing.T) compose {
	t.Helper()
	var c compose
	if err := yaml.Unmarshal([]byte(read(t, "docker-compose.yml")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompose(t *testing.T) {
	t.Parallel()
	c, s := loadCompose(t), parseSettings(t, read(t, "deploy/compose/tuma.yaml"))
	for name, address := range programs(s) {
		p := c.Services[name]
		if !slices.Equal(p.Command, []string{"/usr/local/bin/" + name}) {
			t.Errorf("%s runs %v", name, p.Command)
		}
		if d, err := time.ParseDuration(p.StopGracePeriod); err != nil || d < drainTime(t)+margin {
			t.Errorf("%s is killed after %q, before it has drained", name, p.StopGracePeriod)
		}
		if address != "" && !slices.Equal(p.Ports, []string{"127.0.0.1:" + port(address) + ":" + port(address)}) {
			t.Errorf("%s publishes %v and listens on %s", name, p.Ports, address)
		}
		if address == "" && len(p.Ports) > 0 {
			t.Errorf("%s publishes %v, so that a second one could not start", name, p.Ports)
		}
		if !p.ReadOnly || p.Image != "tuma:dev" || p.Environment["TUMA_CONFIG"] != "/etc/tuma/tuma.yaml" {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if sim := c.Services["simulator"]; !slices.Equal(sim.Profiles, []string{"simulator"}) {
		t.Errorf("the simulator has the profiles %v", sim.Profiles)
	}
	for name, p := range c.Services {
		for _, port := range p.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s beyond loopback", name, port)
			}
		}
		for _, v := range p.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if _, named := c.Volumes[source]; named {
				continue
			}
			if _, err := os.Stat(filepath.Join("..", source)); err != nil {
				t.Errorf("%s mounts what is not there: %v", name, err)
			}
		}
	}
	if !slices.Contains(c.Services["redis"].Command, "noeviction") {
		t.Error("Redis may throw slots and keys away")
	}
}

// TestSameServers: compose and the overlay dev run the same versions, and the
// simulators call back to the same places.
func TestSameServers(t *testing.T) {
	t.Parallel()
	c := loadCompose(t)
	templates := pods(render(t, "overlays/dev"))
	for _, name := range []string{"nats", "redis", "jaeger", "simulator"} {
		pod := templates[name].Spec.Containers[0]
		if pod.Image != c.Services[name].Image {
			t.Errorf("%s is %s in the overlay dev, %s in compose", name, pod.Image, c.Services[name].Image)
		}
		for key, v := range c.Services[name].Environment {
			if got := env(pod, key); got != v {
				t.Errorf("%s has %s=%q in the overlay dev, %q in compose", name, key, got, v)
			}
		}
	}
}

// TestSimulatorCallsBack: the URLs that the simulators are given end in the
// accounts' own names and tokens.
func TestSimulatorCallsBack(t *testing.T) {
	t.Parallel()
	text := read(t, "deploy/compose/tuma.yaml")
	public := parseSettings(t, text).DLRCollector.PublicURL
	var config struct {
		Providers map[string]struct {
			CallbackToken string `json:"callback_token"`
		}
	}
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	for key, url := range loadCompose(t).Services["simulator"].Environment {
		rest, ok := strings.CutPrefix(url, public+"/")
		parts := strings.Split(rest, "/")
		if !ok || len(parts) != 3 || parts[2] == "" || config.Providers[parts[1]].CallbackToken != parts[2] {
			t.Errorf("%s is %s, which no account answers to", key, url)
		}
	}
}

// TestScrape: Prometheus finds every program at its admin port.
func TestScrape(t *testing.T) {
	t.Parallel()
	var p struct {
		Scrape []struct {
			DNS []struct {
				Names []string
				Port  int
			} `json:"dns_sd_configs"`
		} `json:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy/compose/prometheus.yml")), &p); err != nil {
		t.Fatal(err)
	}
	s := parseSettings(t, read(t, "deploy/compose/tuma.yaml"))
	for name := range programs(s) {
		if d := p.Scrape[0].DNS[0]; !slices.Contains(d.Names, name) || port(s.Admin.Listen) != "9090" || d.Port != 9090 {
			t.Errorf("%s at %s is not scraped", name, s.Admin.Listen)
		}
	}
}

// TestDockerfile: every program of cmd/ is in the image, as nobody in particular.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	text := read(t, "Dockerfile")
	dirs, err := os.ReadDir("../cmd")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if !strings.Contains(text, "./cmd/"+d.Name()) {
			t.Errorf("cmd/%s is not built into the image", d.Name())
		}
	}
	uid := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(text)
	if uid == nil || uid[1] != "65532" || uid[2] != "65532" {
		t.Errorf("the image runs as %v, the pods as 65532", uid)
	}
	for _, line := range []string{"FROM scratch\n", "org.opencontainers.image.source=", "org.opencontainers.image.version=$VERSION"} {
		if !strings.Contains(text, line) {
			t.Errorf("the image has no %q", line)
		}
	}
	if !strings.Contains(read(t, "Makefile"), "docker build --build-arg VERSION=$(VERSION) ") {
		t.Error("make images does not tell the image its version")
	}
	if strings.Contains(text, "# syntax=") {
		t.Error("a build needs a frontend from a registry, and nothing of it")
	}
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if !strings.Contains(text, "golang:"+want[1]+".") {
		t.Errorf("the image is not built by Go %s, as go.mod wants", want[1])
	}
}

// TestComposeExample: what the file tells people to try is taken (415 without
// the type).
func TestComposeExample(t *testing.T) {
	t.Parallel()
	head, _, _ := strings.Cut(read(t, "docker-compose.yml"), "\nname:")
	if !strings.Contains(head, "curl") || !strings.Contains(head, "-H 'Content-Type: application/json'") {
		t.Errorf("the example names no type:\n%s", head)
	}
}
