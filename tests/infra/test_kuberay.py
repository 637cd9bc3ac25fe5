"""The manifests: valid by the schemas of Kubernetes and of KubeRay, and their command lines do what they say."""

import os
import re
import shlex
from pathlib import Path
from urllib.request import urlopen

import jsonschema
import kubernetes_validate
import pytest
import yaml

from components.sweep import Limits
from pipelines import sweep_arid

KUBERAY = Path(__file__).parents[2] / "infra" / "kuberay"
KUBERNETES = "1.32"
CRD = (
    "https://raw.githubusercontent.com/ray-project/kuberay/v1.7.1/ray-operator/config/crd/bases/ray.io_raycronjobs.yaml"
)


def spec(**properties):
    required = [name.removesuffix("_") for name in properties if name.endswith("_")]
    fields = {name.removesuffix("_"): schema for name, schema in properties.items()}
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


STRING, BOOLEAN, STRINGS = {"type": "string"}, {"type": "boolean"}, {"additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}
POD = {"type": "object", "required": ["spec"]}  # checked by Kubernetes' own schema below

# Fields, types and what is required in KubeRay's CRD of RayCronJob (ray.io/v1, 1.7), as far as a schedule of jobs has a
# use for them: the CRD is in no package, so that without the internet this is what there is (`make test-crd` fetches
# the CRD itself). What is not here is refused, as is what the CRD does not know.
RAY_CLUSTER = spec(
    headGroupSpec_=spec(rayStartParams=STRINGS, serviceType=STRING, template_=POD),
    workerGroupSpecs={
        "type": "array",
        "items": spec(
            groupName_=STRING, replicas=COUNT, minReplicas_=COUNT, maxReplicas_=COUNT, numOfHosts=COUNT,
            rayStartParams=STRINGS, template_=POD,
        ),
    },
    rayVersion=STRING, enableInTreeAutoscaling=BOOLEAN, suspend=BOOLEAN,
)  # fmt: skip
CONDITION = spec(
    jobStatus={"enum": ["SUCCEEDED", "FAILED"]}, jobDeploymentStatus={"enum": ["Failed"]}, ttlSeconds=COUNT
) | {"oneOf": [{"required": ["jobStatus"]}, {"required": ["jobDeploymentStatus"]}]}  # fmt: skip
DELETION_RULE = spec(
    policy_={"enum": ["DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone"]}, condition_=CONDITION
)
RAY_JOB = spec(
    entrypoint=STRING,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    activeDeadlineSeconds=COUNT, backoffLimit=COUNT, ttlSecondsAfterFinished=COUNT, preRunningDeadlineSeconds=COUNT,
    shutdownAfterJobFinishes=BOOLEAN, suspend=BOOLEAN, runtimeEnvYAML=STRING, metadata=STRINGS,
    clusterSelector=STRINGS, submitterPodTemplate=POD, rayClusterSpec=RAY_CLUSTER,
    deletionStrategy=spec(deletionRules_={"type": "array", "minItems": 1, "items": DELETION_RULE}),
)  # fmt: skip
RAY_CRON_JOB = spec(
    apiVersion_={"const": "ray.io/v1"},
    kind_={"const": "RayCronJob"},
    metadata_={"type": "object", "required": ["name"]},
    spec_=spec(schedule_=STRING, jobTemplate_=RAY_JOB, timeZone={"type": "string", "minLength": 1}, suspend=BOOLEAN),
)


def manifest(name):
    return yaml.safe_load((KUBERAY / name).read_text())


def pods(cron):
    cluster = cron["spec"]["jobTemplate"]["rayClusterSpec"]
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def refusal(resource):
    """What Kubernetes' own schema has against a resource."""
    try:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""


def refusals(cron, schema=RAY_CRON_JOB):
    """What KubeRay's CRD has against a RayCronJob."""
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(cron)]


def strict(schema):
    """A CRD's schema that refuses what it does not name, as `kubectl apply` does by default."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(part) for key, part in schema.items()}
    return closed | {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else closed


def test_the_cron_job_is_valid_by_kubernetes_own_schema():
    assert refusal(manifest("cronjob-sweep.yaml")) == ""


@pytest.mark.parametrize("spoil", ["concurencyPolicy", "historyLimit"])
def test_the_schema_refuses_a_field_that_kubernetes_does_not_have(spoil):
    cron = manifest("cronjob-sweep.yaml")
    cron["spec"][spoil] = "Forbid"
    assert f"'{spoil}' was unexpected" in refusal(cron)


def test_the_ray_cron_job_is_valid_by_kuberays_crd():
    assert refusals(manifest("raycronjob-sweep.yaml")) == []


@pytest.mark.parametrize("spoil", ["concurrencyPolicy", "successfulJobsHistoryLimit"])
def test_kuberays_crd_has_no_field_against_overlap_and_for_history(spoil):
    cron = manifest("raycronjob-sweep.yaml")
    cron["spec"][spoil] = "Forbid"
    (message,) = refusals(cron)
    assert f"'{spoil}' was unexpected" in message


def assert_valid_by(crd):
    """The manifest is valid by a CRD, and no longer with a field or a type that KubeRay does not have."""
    (version,) = [version for version in crd["spec"]["versions"] if version["name"] == "v1"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    assert refusals(manifest("raycronjob-sweep.yaml"), schema) == []
    for path, value in (("historyLimit", 4), ("jobTemplate.submissionMod", "HTTPMode"), ("jobTemplate.entrypoint", 4)):
        cron = manifest("raycronjob-sweep.yaml")
        *parents, field = f"spec.{path}".split(".")
        inner = cron
        for parent in parents:
            inner = inner[parent]
        inner[field] = value
        assert len(refusals(cron, schema)) == 1, path


@pytest.mark.crd
def test_the_ray_cron_job_is_valid_by_the_crd_that_kuberay_publishes():
    with urlopen(os.environ.get("KUBERAY_CRD", CRD), timeout=60) as answer:
        assert_valid_by(yaml.safe_load(answer))


def test_the_written_down_schema_has_the_form_of_a_crd():
    assert_valid_by({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": RAY_CRON_JOB}}]}})


def test_the_ray_cluster_has_pods_that_are_valid_by_kubernetes_own_schema():
    for template in pods(manifest("raycronjob-sweep.yaml")):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": template["spec"]}
        assert refusal(pod) == ""
        assert "containers" in refusal(pod | {"spec": {}})


def test_runs_cannot_overlap_and_end_with_a_report_before_the_deadline():
    cron, ray = manifest("cronjob-sweep.yaml")["spec"], manifest("raycronjob-sweep.yaml")["spec"]
    assert cron["concurrencyPolicy"] == "Forbid"
    for job, words in ((cron["jobTemplate"]["spec"], command(cron)), (ray["jobTemplate"], command(ray))):
        assert "--limits.exclusive" in words
        assert float(words[words.index("--limits.hours") + 1]) * 3600 < job["activeDeadlineSeconds"] < 7 * 86400
    assert cron["successfulJobsHistoryLimit"] > 0 < cron["failedJobsHistoryLimit"]


def test_a_ray_cron_job_keeps_four_weeks_of_jobs_and_no_cluster_of_a_finished_one():
    job = manifest("raycronjob-sweep.yaml")["spec"]["jobTemplate"]
    rules = job["deletionStrategy"]["deletionRules"]
    kept = {(*rule["condition"].values(), rule["policy"]) for rule in rules}
    day = 86400
    assert kept == {
        ("SUCCEEDED", 0, "DeleteCluster"),
        ("SUCCEEDED", 28 * day, "DeleteSelf"),
        ("Failed", day, "DeleteCluster"),
        ("Failed", 28 * day, "DeleteSelf"),
    }
    # KubeRay's operator refuses a job that has both.
    assert not {"shutdownAfterJobFinishes", "ttlSecondsAfterFinished"} & set(job)


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        ({"policy": "DeleteJob", "condition": {"jobStatus": "FAILED"}}, "DeleteJob"),
        ({"policy": "DeleteSelf", "condition": {"ttlSeconds": 1}}, "ttlSeconds"),
        (
            {"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED", "jobDeploymentStatus": "Failed"}},
            "valid under",
        ),
        ({"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED", "ttlSeconds": -1}}, "minimum"),
        ({"policy": "DeleteSelf"}, "condition"),
    ],
)
def test_a_rule_that_kuberays_crd_refuses_is_refused(spoil, word):
    cron = manifest("raycronjob-sweep.yaml")
    cron["spec"]["jobTemplate"]["deletionStrategy"]["deletionRules"].append(spoil)
    (message,) = refusals(cron)
    assert word in message


def test_secrets_are_named_and_never_written():
    containers = [
        container for pod in pods(manifest("raycronjob-sweep.yaml")) for container in pod["spec"]["containers"]
    ]
    assert all(container["envFrom"] == [{"secretRef": {"name": "dtcm"}}] for container in containers)
    (submit,) = manifest("cronjob-sweep.yaml")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    values = {variable["name"]: variable for variable in submit["env"]}
    assert values["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
    for name, variable in values.items():
        assert "value" not in variable or not any(word in name for word in ("TOKEN", "KEY", "SECRET", "PASSWORD"))


def command(cron):
    """The words of a manifest's command line, from `python` on."""
    job = cron["jobTemplate"]
    line = job["entrypoint"] if "entrypoint" in job else job["spec"]["template"]["spec"]["containers"][0]["args"][0]
    words = shlex.split(line)
    return words[words.index("python") :]


@pytest.mark.parametrize("name", ["cronjob-sweep.yaml", "raycronjob-sweep.yaml"])
def test_the_command_line_asks_for_the_paper_sweep_named_by_its_week(name, monkeypatch):
    asked = {}
    monkeypatch.setattr(sweep_arid, "run_sweep", lambda *arguments: asked.update(run=arguments))
    monkeypatch.setattr(sweep_arid, "report", lambda *arguments: "")
    words = command(manifest(name)["spec"])
    assert words[:2] == ["python", "pipelines/sweep_arid.py"]
    sweep_arid.main(words[2:])
    sweep, settings, limits = asked["run"]
    assert re.fullmatch(r"weekly-20\d\d-W\d\d", sweep.name)
    assert sweep.base.model.classifier == "resnext3d-101"
    assert settings.storage.startswith("s3://")
    assert limits == Limits(hours=60, exclusive=True)
