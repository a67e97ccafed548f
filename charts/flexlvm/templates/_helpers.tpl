{{/* True on Kubernetes 1.25 and later, where the API server evaluates CEL rules of definitions. */}}
{{- define "flexlvm.since25" -}}
{{- if semverCompare ">=1.25-0" .Capabilities.KubeVersion.Version }}true{{ end }}
{{- end }}

{{/* True on Kubernetes 1.30 and later, where the API server has ValidatingAdmissionPolicy. */}}
{{- define "flexlvm.since30" -}}
{{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}true{{ end }}
{{- end }}

{{/* True if a Prometheus connects to the pods. */}}
{{- define "flexlvm.scraped" -}}
{{- with .Values.monitoring }}
{{- if or .annotations .podMonitor.enabled .prometheusRule.enabled }}true{{ end }}
{{- end }}
{{- end }}

{{/* The reference of the image. */}}
{{- define "flexlvm.image" -}}
{{- with .Values.image.digest -}}
{{ $.Values.image.repository }}@{{ . }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* The kubelet's plugin folder, if it is set or the distribution names one. */}}
{{- define "flexlvm.pluginDir" -}}
{{- $folders := dict "openshift" "/etc/kubernetes/kubelet-plugins/volume/exec" "rke2" "/var/lib/kubelet/volumeplugins" "k0s" "/usr/libexec/k0s/kubelet-plugins/volume/exec" }}
{{- .Values.agent.pluginDir | default (get $folders .Values.distribution) }}
{{- end }}

{{/* Annotations of a role's pods. */}}
{{- define "flexlvm.podAnnotations" -}}
{{- $annotations := dict }}
{{- if .monitoring.annotations }}
{{- $annotations = dict "prometheus.io/scrape" "true" "prometheus.io/port" "8080" "prometheus.io/path" "/metrics" }}
{{- end }}
{{- with merge (deepCopy .role.podAnnotations) $annotations }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{/* Container fields that both roles share. */}}
{{- define "flexlvm.probes" -}}
ports:
- name: probes
  containerPort: 8080
livenessProbe:
  httpGet:
    path: /livez
    port: probes
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  httpGet:
    path: /readyz
    port: probes
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}
