{{/* The name of everything: that of the release, which is made to tell what it is. */}}
{{- define "lossless-upgrade.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "lossless-upgrade.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "lossless-upgrade.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What tells this release from another one. */}}
{{- define "lossless-upgrade.own" -}}
app.kubernetes.io/name: lossless-upgrade
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Those by which its pods are selected. */}}
{{- define "lossless-upgrade.podLabels" -}}
{{ include "lossless-upgrade.own" . }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "lossless-upgrade.labels" -}}
{{ include "lossless-upgrade.own" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "lossless-upgrade.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/*
The objects of one file of deploy/, as a JSON list. files/ has copies of those that must not be said twice;
`make gen` writes them.
*/}}
{{- define "lossless-upgrade.base" -}}
{{- $objects := list -}}
{{- range splitList "\n---\n" (required (printf "%s is missing: run `make gen`" .file) (.root.Files.Get .file)) -}}
{{- $objects = append $objects (fromYaml .) -}}
{{- end -}}
{{- $objects | toJson -}}
{{- end -}}

{{/*
An object of the base under the names and labels of this release. Where the operator watches one
namespace, what is bound in the whole cluster is bound there. What names a namespace of others stays
in it, and rules about objects of others keep their names. `labels` come on top.
*/}}
{{- define "lossless-upgrade.adopted" -}}
{{- $object := .object -}}
{{- $root := .root -}}
{{- $fullname := include "lossless-upgrade.fullname" $root -}}
{{- $named := dict "name" (print $fullname (trimPrefix "lossless-upgrade" $object.metadata.name)) -}}
{{- $labels := merge (include "lossless-upgrade.labels" $root | fromYaml) (default dict .labels) -}}
{{- $_ := set $named "labels" $labels -}}
{{- $watched := $root.Values.watchNamespace -}}
{{- if and $watched (eq $object.kind "ClusterRoleBinding") -}}
{{- $_ := set $object "kind" "RoleBinding" -}}
{{- $_ := set $named "namespace" $watched -}}
{{- else if has $object.kind (list "Role" "RoleBinding" "PrometheusRule") -}}
{{- $_ := set $named "namespace" (default $root.Release.Namespace $object.metadata.namespace) -}}
{{- end -}}
{{- $_ := set $object "metadata" $named -}}
{{- range $rule := $object.rules -}}
{{- if has "lossless-upgrade" (default list $rule.resourceNames) -}}
{{- $_ := set $rule "resourceNames" (list $fullname) -}}
{{- end -}}
{{- end -}}
{{- if $object.roleRef -}}
{{- $role := print $fullname (trimPrefix "lossless-upgrade" $object.roleRef.name) -}}
{{- $_ := set $object.roleRef "name" $role -}}
{{- $account := dict "kind" "ServiceAccount" "name" (include "lossless-upgrade.serviceAccount" $root) -}}
{{- $_ := set $account "namespace" $root.Release.Namespace -}}
{{- $_ := set $object "subjects" (list $account) -}}
{{- end -}}
{{- if eq $object.kind "ValidatingAdmissionPolicyBinding" -}}
{{- $_ := set $object.spec "policyName" $fullname -}}
{{- if $watched -}}
{{- $there := dict "matchLabels" (dict "kubernetes.io/metadata.name" $watched) -}}
{{- $_ := set $object.spec "matchResources" (dict "namespaceSelector" $there) -}}
{{- end -}}
{{- end -}}
{{- toYaml $object -}}
{{- end -}}
