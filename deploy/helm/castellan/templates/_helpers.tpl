{{- define "castellan.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* A name of a Service: 63 characters at most. */}}
{{- define "castellan.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "castellan.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "castellan.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "castellan.selector" -}}
app.kubernetes.io/name: {{ include "castellan.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "castellan.labels" -}}
{{ include "castellan.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "castellan.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "castellan.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "castellan.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "castellan.certificateSecret" -}}
{{- if eq .Values.certificate.source "secret" -}}
{{ required "certificate.source secret takes certificate.secret.name" .Values.certificate.secret.name }}
{{- else -}}
{{ include "castellan.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{/* Whether the webhook has to read namespaces: where the configuration leaves a number open, or pods may choose one. */}}
{{- define "castellan.readsNamespaces" -}}
{{- $open := or (kindIs "invalid" .Values.identity.uid) (kindIs "invalid" .Values.identity.gid) -}}
{{- if or $open (has "identity" .Values.supervisor.podsMayChoose) -}}yes{{- end -}}
{{- end -}}

{{/* true or false: a value, or where that is auto, whether the cluster is recent enough. Takes value, since, root. */}}
{{- define "castellan.sinceVersion" -}}
{{- if kindIs "bool" .value -}}
{{ .value }}
{{- else -}}
{{ semverCompare .since .root.Capabilities.KubeVersion.Version }}
{{- end -}}
{{- end -}}
