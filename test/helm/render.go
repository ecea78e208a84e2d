// Renders a chart as Helm does, with what Helm is made of: Go's text/template, sprig, gojsonschema, and sigs.k8s.io/yaml (which reads
// numbers as floats, so that large ones look different in a template than in the file). Helm's own functions are the few below; a chart that uses another fails.
//
//	render CHART < {"values": {}, "release": "r", "namespace": "n", "kubeVersion": "v1.30.0", "apiVersions": [], "lookup": {}}
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"github.com/xeipuuv/gojsonschema"
	"sigs.k8s.io/yaml"
)

type question struct {
	Values      map[string]interface{} `json:"values"`
	Release     string                 `json:"release"`
	Namespace   string                 `json:"namespace"`
	KubeVersion string                 `json:"kubeVersion"`
	APIVersions []string               `json:"apiVersions"`
	// What is in the cluster, by "KIND/NAMESPACE/NAME".
	Lookup map[string]map[string]interface{} `json:"lookup"`
}

type kubeVersion struct{ Version string }

func (version kubeVersion) String() string { return version.Version }

type apiVersions []string

func (known apiVersions) Has(wanted string) bool {
	for _, version := range known {
		if version == wanted {
			return true
		}
	}
	return false
}

type capabilities struct {
	KubeVersion kubeVersion
	APIVersions apiVersions
}

func main() {
	if err := render(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func render(chart string) error {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return err
	}
	var about struct{ Name, Version, AppVersion string }
	values := map[string]interface{}{}
	if err := readYaml(filepath.Join(chart, "Chart.yaml"), &about); err != nil {
		return err
	}
	if err := readYaml(filepath.Join(chart, "values.yaml"), &values); err != nil {
		return err
	}
	merge(values, asked.Values)
	if err := validate(filepath.Join(chart, "values.schema.json"), values); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	if err != nil {
		return err
	}
	sort.Strings(files)
	root := template.New("").Option("missingkey=zero")
	root.Funcs(functions(root, asked.Lookup))
	base := about.Name + "/templates"
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if _, err := root.New(base + "/" + filepath.Base(file)).Parse(string(text)); err != nil {
			return err
		}
	}
	for _, file := range files {
		name := base + "/" + filepath.Base(file)
		if strings.HasPrefix(filepath.Base(file), "_") {
			continue
		}
		var text bytes.Buffer
		err := root.ExecuteTemplate(&text, name, map[string]interface{}{
			"Values":       values,
			"Chart":        about,
			"Release":      map[string]interface{}{"Name": asked.Release, "Namespace": asked.Namespace, "Service": "Helm"},
			"Capabilities": capabilities{kubeVersion{asked.KubeVersion}, asked.APIVersions},
			"Template":     map[string]interface{}{"Name": name, "BasePath": base},
		})
		if err != nil {
			return err
		}
		// Notes are for people.
		if !strings.HasSuffix(file, ".yaml") {
			continue
		}
		fmt.Printf("---\n%s\n", strings.ReplaceAll(text.String(), "<no value>", ""))
	}
	return nil
}

func functions(root *template.Template, known map[string]map[string]interface{}) template.FuncMap {
	all := sprig.TxtFuncMap()
	delete(all, "env")
	delete(all, "expandenv")
	all["include"] = func(name string, data interface{}) (string, error) {
		var text bytes.Buffer
		err := root.ExecuteTemplate(&text, name, data)
		return text.String(), err
	}
	all["toYaml"] = func(value interface{}) (string, error) {
		text, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	all["required"] = func(message string, value interface{}) (interface{}, error) {
		if text, isText := value.(string); value == nil || (isText && text == "") {
			return value, errors.New(message)
		}
		return value, nil
	}
	all["lookup"] = func(_ string, kind string, namespace string, name string) map[string]interface{} {
		return known[kind+"/"+namespace+"/"+name]
	}
	return all
}

func validate(path string, values map[string]interface{}) error {
	schema, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	result, err := gojsonschema.Validate(gojsonschema.NewBytesLoader(schema), gojsonschema.NewGoLoader(values))
	if err != nil {
		return err
	}
	var problems []string
	for _, problem := range result.Errors() {
		problems = append(problems, problem.String())
	}
	if len(problems) > 0 {
		return errors.New("values: " + strings.Join(problems, "; "))
	}
	return nil
}

func readYaml(path string, into interface{}) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(text, into)
}

// As Helm coalesces: maps key by key, everything else as a whole, and null takes a value away.
func merge(into, from map[string]interface{}) {
	for key, value := range from {
		inner, isMap := value.(map[string]interface{})
		outer, wasMap := into[key].(map[string]interface{})
		if isMap && wasMap {
			merge(outer, inner)
		} else if value == nil {
			delete(into, key)
		} else {
			into[key] = value
		}
	}
}
