"""What jobs may use, as the composition root read it from the settings."""

from dataclasses import dataclass, field

from ml_platform.contracts.jobs import TrainRequest
from ml_platform.kit.errors import BadInputError

GIB = 2**30


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A named amount of resources. `memory_bytes` None: whatever the installation allows."""

    name: str
    memory_bytes: int | None


EMBEDDED_INSTANCES = (
    InstanceType("cpu.small", GIB),
    InstanceType("cpu.medium", 2 * GIB),
    InstanceType("cpu.large", 4 * GIB),
    InstanceType("local", None),
)
_WITHOUT_GPU = "this installation runs jobs on its own machine and gives them no GPU"


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Limits of jobs, and the addresses that their scripts are told."""

    api_url: str
    max_running: int
    max_queued_per_team: int
    timeout_seconds: int
    memory_bytes: int
    max_processes: int
    log_bytes: int
    source_bytes: int
    environment_seconds: float = 900.0
    poll_seconds: float = 0.5
    instances: tuple[InstanceType, ...] = field(default=EMBEDDED_INSTANCES)

    def memory_for(self, request: TrainRequest) -> int:
        """The memory of a job; BadInputError for what this installation cannot give."""
        if request.num_gpus:
            raise BadInputError.of(
                "num_gpus", f"must be 0: {_WITHOUT_GPU}", hint="leave num_gpus out, or use a cluster"
            )
        named = self._instance(request.instance_type)
        wanted = request.memory_bytes or (named.memory_bytes if named else None) or self.memory_bytes
        if wanted > self.memory_bytes:
            field_name = "memory_bytes" if request.memory_bytes else "instance_type"
            raise BadInputError.of(
                field_name,
                f"asks for {wanted} bytes of memory; a job gets at most {self.memory_bytes} here",
                hint="ask for less, or have MLOPS_JOBS__MEMORY_BYTES raised",
            )
        return wanted

    def timeout_for(self, request: TrainRequest) -> int:
        """The longest run of a job; BadInputError when it asks for more than is allowed."""
        wanted = request.timeout_seconds or self.timeout_seconds
        if wanted > self.timeout_seconds:
            raise BadInputError.of(
                "timeout_seconds",
                f"must be at most {self.timeout_seconds} here",
                hint="have MLOPS_JOBS__TIMEOUT_SECONDS raised",
            )
        return wanted

    def _instance(self, name: str | None) -> InstanceType | None:
        if name is None:
            return None
        for instance in self.instances:
            if instance.name == name:
                return instance
        known = ", ".join(instance.name for instance in self.instances)
        if name.startswith("gpu"):
            raise BadInputError.of(
                "instance_type", f"{name!r} has GPUs, but {_WITHOUT_GPU}", hint=f"use one of: {known}"
            )
        raise BadInputError.of("instance_type", f"{name[:63]!r} is not known here; use one of: {known}")
