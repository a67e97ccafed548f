//go:build e2e

// Package e2e makes `go mod tidy` keep the modules of Kubernetes' own tests, whose program is the test binary of the package
// below. Not compiled.
package e2e

import _ "k8s.io/kubernetes/test/e2e"
