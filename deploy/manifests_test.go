// Package deploy tests the manifests beside it. It is a module of its own, so
// that the Kubernetes API types stay out of Tuma's dependencies.
package deploy

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// scaledObject is as much of KEDA's type as the overlay uses.
type scaledObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ScaleTargetRef  struct{ Name string }
		MinReplicaCount int
		MaxReplicaCount int
		Fallback        struct {
			FailureThreshold, Replicas int
			Behavior                   string
		}
		Advanced struct {
			HorizontalPodAutoscalerConfig struct {
				Behavior autoscalingv2.HorizontalPodAutoscalerBehavior
			}
		}
		Triggers []struct {
			Type, MetricType string
			Metadata         map[string]string
		}
	}
}

// podMonitor and prometheusRule are as much of the operator's types as is used.
type podMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector            metav1.LabelSelector
		PodMetricsEndpoints []struct{ Port, Interval string }
	}
}

type prometheusRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
}

// newObject returns an empty object of the type that a manifest claims.
func newObject(m metav1.TypeMeta) (any, error) {
	switch m.APIVersion + " " + m.Kind {
	case "v1 Namespace":
		return &corev1.Namespace{}, nil
	case "v1 ServiceAccount":
		return &corev1.ServiceAccount{}, nil
	case "v1 Service":
		return &corev1.Service{}, nil
	case "v1 ConfigMap":
		return &corev1.ConfigMap{}, nil
	case "v1 Secret":
		return &corev1.Secret{}, nil
	case "apps/v1 Deployment":
		return &appsv1.Deployment{}, nil
	case "apps/v1 StatefulSet":
		return &appsv1.StatefulSet{}, nil
	case "policy/v1 PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}, nil
	case "networking.k8s.io/v1 NetworkPolicy":
		return &networkingv1.NetworkPolicy{}, nil
	case "autoscaling/v2 HorizontalPodAutoscaler":
		return &autoscalingv2.HorizontalPodAutoscaler{}, nil
	case "keda.sh/v1alpha1 ScaledObject":
		return &scaledObject{}, nil
	case "monitoring.coreos.com/v1 PodMonitor":
		return &podMonitor{}, nil
	case "monitoring.coreos.com/v1 PrometheusRule":
		return &prometheusRule{}, nil
	}
	return nil, fmt.Errorf("no type for %s %s: add it to this test", m.APIVersion, m.Kind)
}

// decode reads one manifest into its API type; a field that the type does not
// have is an error, as is one of the wrong kind.
func decode(doc []byte) (any, error) {
	var m metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &m); err != nil {
		return nil, err
	}
	o, err := newObject(m)
	if err != nil {
		return nil, err
	}
	return o, yaml.UnmarshalStrict(doc, o)
}

// render does what `kubectl kustomize k8s/DIR` does.
func render(t *testing.T, dir string) []any {
	t.Helper()
	opts := krusty.MakeDefaultOptions()
	opts.LoadRestrictions = types.LoadRestrictionsRootOnly
	resources, err := krusty.MakeKustomizer(opts).Run(filesys.MakeFsOnDisk(), filepath.Join("k8s", dir))
	if err != nil {
		t.Fatal(err)
	}
	var out []any
	for _, r := range resources.Resources() {
		doc, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		o, err := decode(doc)
		if err != nil {
			t.Fatalf("%s: %v", r.CurId(), err)
		}
		out = append(out, o)
	}
	return out
}

// of returns the objects of one type.
func of[T any](objects []any) []T {
	var out []T
	for _, o := range objects {
		if v, ok := o.(T); ok {
			out = append(out, v)
		}
	}
	return out
}

// TestFilesDecode holds for every file, whether a kustomization names it or not.
func TestFilesDecode(t *testing.T) {
	t.Parallel()
	seen := 0
	err := filepath.WalkDir("k8s", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "tuma.yaml" || d.Name() == "kustomization.yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, doc := range bytes.Split(data, []byte("\n---\n")) {
			seen++
			if _, err := decode(doc); err != nil {
				t.Errorf("%s, document %d: %v", path, i+1, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 20 {
		t.Errorf("only %d documents: looking in the wrong place?", seen)
	}
}

// TestDecodeIsStrict: a manifest with a misspelled field must not pass.
func TestDecodeIsStrict(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{
		"{apiVersion: v1, kind: Service, spec: {selektor: {a: b}}}",
		"{apiVersion: v1, kind: Service, spec: {ports: [{port: eighty}]}}",
		"{apiVersion: v1, kind: Service, spec: {}, spec: {}}",
		"{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, spec: {maxReplicas: 3}}",
		"{apiVersion: apps/v1beta1, kind: Deployment}",
	} {
		if _, err := decode([]byte(doc)); err == nil {
			t.Errorf("decoded %s", doc)
		}
	}
}

// read returns a file of the project by its path from the root.
func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// settings is as much of tuma.yaml as the manifests must agree with. That it
// loads as a whole is tested in test/deploy, beside the package that reads it.
type settings struct {
	Ingest       struct{ Listen string }
	DLRCollector struct {
		Listen    string
		PublicURL string `json:"public_url"`
	} `json:"dlr_collector"`
	Admin struct{ Listen string }
}

func parseSettings(t *testing.T, text string) settings {
	t.Helper()
	var s settings
	if err := yaml.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// port returns what stands behind the last colon.
func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
