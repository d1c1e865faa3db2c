package deploy

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

func overlays() []string { return []string{"base", "overlays/dev", "overlays/autoscaling"} }

// programs are those that scale out, each with the key of the address that it
// serves besides the admin port; empty: none.
func programs(s settings) map[string]string {
	return map[string]string{"ingest": s.Ingest.Listen, "dispatcher": "", "dlr-collector": s.DLRCollector.Listen}
}

// pods returns the pod templates by the name of what makes them.
func pods(objects []any) map[string]corev1.PodTemplateSpec {
	out := map[string]corev1.PodTemplateSpec{}
	for _, d := range of[*appsv1.Deployment](objects) {
		out[d.Name] = d.Spec.Template
	}
	for _, s := range of[*appsv1.StatefulSet](objects) {
		out[s.Name] = s.Spec.Template
	}
	return out
}

// TestRestricted asks the cluster's own judge: the namespace refuses other pods.
func TestRestricted(t *testing.T) {
	t.Parallel()
	judge, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, dir := range overlays() {
		for name, pod := range pods(render(t, dir)) {
			for _, r := range judge.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec) {
				if !r.Allowed {
					t.Errorf("%s: pods of %s are not allowed: %s (%s)", dir, name, r.ForbiddenReason, r.ForbiddenDetail)
				}
			}
			for _, c := range pod.Spec.Containers {
				if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
					t.Errorf("%s: %s may write to its root", dir, name)
				}
				if c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
					t.Errorf("%s: %s has no CPU request or no memory limit", dir, name)
				}
			}
			if a := pod.Spec.AutomountServiceAccountToken; a == nil || *a {
				t.Errorf("%s: %s gets a token of the Kubernetes API", dir, name)
			}
		}
	}
}

// TestPrograms holds the deployments against the programs and their config.
func TestPrograms(t *testing.T) {
	t.Parallel()
	drain := drainTime(t)
	for _, dir := range overlays() {
		objects := render(t, dir)
		config := configMap(t, objects, "tuma-config")
		s := parseSettings(t, config.Data["tuma.yaml"])
		templates, images := pods(objects), map[string]bool{}
		for name, address := range programs(s) {
			pod, ok := templates[name]
			if !ok || len(pod.Spec.Containers) != 1 {
				t.Errorf("%s: %s has no deployment with one container", dir, name)
				continue
			}
			c := pod.Spec.Containers[0]
			images[c.Image] = true
			if want := []string{"/usr/local/bin/" + name}; !slices.Equal(c.Command, want) {
				t.Errorf("%s: %s runs %v, want %v as the Dockerfile puts it", dir, name, c.Command, want)
			}
			ports := map[string]string{}
			for _, p := range c.Ports {
				ports[p.Name] = strconv.Itoa(int(p.ContainerPort))
			}
			want := map[string]string{"admin": port(s.Admin.Listen)}
			if address != "" {
				want["http"] = port(address)
			}
			if !maps.Equal(ports, want) {
				t.Errorf("%s: %s has the ports %v, its config %v", dir, name, ports, want)
			}
			probe(t, dir, name+" startup", c.StartupProbe, "/healthz")
			probe(t, dir, name+" liveness", c.LivenessProbe, "/healthz")
			probe(t, dir, name+" readiness", c.ReadinessProbe, "/readyz")
			stops(t, dir, name, pod, drain)
			memory(t, dir, name, c)
			mounts(t, dir, name, pod, config)
		}
		if len(images) != 1 {
			t.Errorf("%s: programs of several images %v: versions must not mix", dir, slices.Collect(maps.Keys(images)))
		}
		for image := range images {
			if strings.HasSuffix(image, ":latest") || !strings.Contains(image, ":") {
				t.Errorf("%s: image %s: which version would that be tomorrow?", dir, image)
			}
		}
	}
}

func probe(t *testing.T, dir, what string, p *corev1.Probe, path string) {
	t.Helper()
	if p == nil || p.HTTPGet == nil || p.HTTPGet.Path != path || p.HTTPGet.Port.String() != "admin" {
		t.Errorf("%s: %s probe does not ask %s on the admin port", dir, what, path)
	}
}

// drainTime is the programs' own deadline, read where it is set.
func drainTime(t *testing.T) time.Duration {
	t.Helper()
	m := regexp.MustCompile(`(?m)^const drain = (\d+) \* time\.Second$`).FindStringSubmatch(read(t, "internal/app/kit.go"))
	if m == nil {
		t.Fatal("internal/app/kit.go has no constant drain in seconds any more: tell this test where it went")
	}
	d, err := time.ParseDuration(m[1] + "s")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// margin is what a program needs after its drain: the last spans, closing connections.
const margin = 10 * time.Second

// stops: a pod that is killed while it drains leaves uncertain messages behind.
func stops(t *testing.T, dir, name string, pod corev1.PodTemplateSpec, drain time.Duration) {
	t.Helper()
	need := drain + margin
	if l := pod.Spec.Containers[0].Lifecycle; l != nil && l.PreStop != nil && l.PreStop.Sleep != nil {
		need += time.Duration(l.PreStop.Sleep.Seconds) * time.Second
	}
	if s := pod.Spec.TerminationGracePeriodSeconds; s == nil || time.Duration(*s)*time.Second < need {
		t.Errorf("%s: %s is killed before it has drained: terminationGracePeriodSeconds must be at least %v", dir, name, need)
	}
}

// memory: the collector must work hard before the kernel kills.
func memory(t *testing.T, dir, name string, c corev1.Container) {
	t.Helper()
	limit := c.Resources.Limits.Memory().Value()
	mib, ok := strings.CutSuffix(env(c, "GOMEMLIMIT"), "MiB")
	n, err := strconv.ParseInt(mib, 10, 64)
	if !ok || err != nil || n<<20 > limit*95/100 || n<<20 < limit/2 {
		t.Errorf("%s: %s has GOMEMLIMIT %sMiB for a limit of %d MiB", dir, name, mib, limit>>20)
	}
}

func env(c corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

const secrets = "/run/secrets/tuma"

// mounts: the config is where TUMA_CONFIG says, and secrets are only with those
// who call providers or are called by them.
func mounts(t *testing.T, dir, name string, pod corev1.PodTemplateSpec, config *corev1.ConfigMap) {
	t.Helper()
	c := pod.Spec.Containers[0]
	from := map[string]string{} // folder -> what is mounted there
	for _, m := range c.VolumeMounts {
		for _, v := range pod.Spec.Volumes {
			if v.Name != m.Name {
				continue
			}
			if v.ConfigMap != nil {
				from[m.MountPath] = "config " + v.ConfigMap.Name
			}
			if v.Secret != nil {
				from[m.MountPath] = "secret " + v.Secret.SecretName
			}
		}
	}
	want := map[string]string{
		strings.TrimSuffix(env(c, "TUMA_CONFIG"), "/tuma.yaml"): "config " + config.Name,
		"/run/secrets/nats": "secret nats-" + name, // who takes over one program has not the others' rights on the bus
	}
	if name != "ingest" {
		want[secrets] = from[secrets]
		if !strings.HasPrefix(from[secrets], "secret tuma-providers") { // a generated one's name ends in a hash
			t.Errorf("%s: %s has %q for the providers' secrets", dir, name, from[secrets])
		}
	}
	if !maps.Equal(from, want) {
		t.Errorf("%s: %s mounts %v, want %v", dir, name, from, want)
	}
}

// TestSecretExample has every file that the config names.
func TestSecretExample(t *testing.T) {
	t.Parallel()
	first, rest, _ := strings.Cut(read(t, "deploy/k8s/base/secret.example.yaml"), "\n---\n")
	if !strings.Contains(rest, "name: nats-ingest") || !strings.Contains(rest, "seed:") {
		t.Error("no example of a program's user on NATS")
	}
	o, err := decode([]byte(first))
	if err != nil {
		t.Fatal(err)
	}
	have := slices.Sorted(maps.Keys(o.(*corev1.Secret).StringData))
	var want []string
	for _, m := range regexp.MustCompile(`file:`+secrets+`/([a-z-]+)`).FindAllStringSubmatch(read(t, "deploy/k8s/base/tuma.yaml"), -1) {
		want = append(want, m[1])
	}
	slices.Sort(want)
	if !slices.Equal(have, slices.Compact(want)) {
		t.Errorf("secret.example.yaml has %v, tuma.yaml names %v", have, want)
	}
}

// TestSelectors: what chooses pods by their labels finds some.
func TestSelectors(t *testing.T) {
	t.Parallel()
	for _, dir := range overlays() {
		objects := render(t, dir)
		templates := pods(objects)
		chosen := func(kind, name string, s *metav1.LabelSelector) []corev1.PodTemplateSpec {
			sel, err := metav1.LabelSelectorAsSelector(s)
			if err != nil {
				t.Fatal(err)
			}
			var out []corev1.PodTemplateSpec
			for _, pod := range templates {
				if sel.Matches(labels.Set(pod.Labels)) {
					out = append(out, pod)
				}
			}
			if len(out) == 0 {
				t.Errorf("%s: %s %s chooses no pod", dir, kind, name)
			}
			return out
		}
		for _, d := range of[*appsv1.Deployment](objects) {
			chosen("deployment", d.Name, d.Spec.Selector)
		}
		for _, s := range of[*corev1.Service](objects) {
			for _, pod := range chosen("service", s.Name, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}) {
				for _, p := range s.Spec.Ports {
					if !hasPort(pod, p.TargetPort.String()) {
						t.Errorf("%s: service %s: its pods have no port %s", dir, s.Name, p.TargetPort.String())
					}
				}
			}
		}
		for _, b := range of[*policyv1.PodDisruptionBudget](objects) {
			if got := chosen("budget", b.Name, b.Spec.Selector); len(got) > 1 {
				t.Errorf("%s: budget %s spans several programs", dir, b.Name)
			}
		}
	}
}

func hasPort(pod corev1.PodTemplateSpec, name string) bool {
	return slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == name })
}

// TestAutoscaling: targets exist, and nobody else sets their number.
func TestAutoscaling(t *testing.T) {
	t.Parallel()
	objects := render(t, "overlays/autoscaling")
	var targets []string
	for _, s := range of[*scaledObject](objects) {
		targets = append(targets, s.Spec.ScaleTargetRef.Name)
		for _, trigger := range s.Spec.Triggers {
			if trigger.Type != "prometheus" {
				t.Errorf("%s scales on %s", s.Name, trigger.Type)
			}
			for _, name := range metricsExist(t, trigger.Metadata["query"]) {
				if !slices.Contains([]string{"tuma_sendable", "tuma_slot_use", "tuma_oldest_seconds"}, name) {
					t.Errorf("%s scales on %s: only what more pods would send says how many are needed", s.Name, name)
				}
			}
		}
	}
	for _, h := range of[*autoscalingv2.HorizontalPodAutoscaler](objects) {
		targets = append(targets, h.Spec.ScaleTargetRef.Name)
	}
	slices.Sort(targets)
	if !slices.Equal(targets, []string{"dispatcher", "ingest"}) {
		t.Errorf("scaled: %v", targets)
	}
	for _, d := range of[*appsv1.Deployment](objects) {
		if slices.Contains(targets, d.Name) && d.Spec.Replicas != nil {
			t.Errorf("%s has a number of replicas besides its scaler's", d.Name)
		}
	}
}

// TestMonitored: who scales by metrics has them scraped, of every program, and the
// alerts go by metrics that there are. That their labels are right, too, is tested
// on running programs in test/e2e.
func TestMonitored(t *testing.T) {
	t.Parallel()
	objects := render(t, "overlays/autoscaling")
	monitors, rules := of[*podMonitor](objects), of[*prometheusRule](objects)
	if len(monitors) != 1 || len(rules) != 1 || len(monitors[0].Spec.PodMetricsEndpoints) != 1 {
		t.Fatalf("%d monitors, %d sets of rules", len(monitors), len(rules))
	}
	sel, err := metav1.LabelSelectorAsSelector(&monitors[0].Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	for name, pod := range pods(objects) {
		if e := monitors[0].Spec.PodMetricsEndpoints[0]; !sel.Matches(labels.Set(pod.Labels)) || !hasPort(pod, e.Port) {
			t.Errorf("%s is not scraped", name)
		}
	}
	for _, g := range rules[0].Spec.Groups {
		for _, r := range g.Rules {
			metricsExist(t, r.Expr)
			if r.Alert == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("%+v does not say what it is", r)
			}
		}
	}
}

// metricsExist looks for each metric of a query where metrics are named, and
// returns their names.
func metricsExist(t *testing.T, query string) []string {
	t.Helper()
	source := read(t, "internal/telemetry/metrics.go")
	names := regexp.MustCompile(`tuma_[a-z_]+`).FindAllString(query, -1)
	if len(names) == 0 {
		t.Errorf("no metric of ours in %q", query)
	}
	for _, name := range names {
		if !strings.Contains(source, `"`+name+`"`) {
			t.Errorf("there is no metric %s", name)
		}
	}
	return names
}

func configMap(t *testing.T, objects []any, prefix string) *corev1.ConfigMap {
	t.Helper()
	for _, c := range of[*corev1.ConfigMap](objects) {
		if strings.HasPrefix(c.Name, prefix) {
			return c
		}
	}
	t.Fatalf("no config map %s", prefix)
	return nil
}
