"""What a job is granted: its interpreter, the packages that it imports, its inputs and folders, nothing above."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from in_a_child import in_a_child
from pertharness.contract.jobs import Job, PluginRef
from pertharness.host.execution.batch import CORE, InputFile, Launch, left_open
from pertharness.host.execution.sandbox import (
    _interpreter,
    base_grants,
    describe_machine,
    editable_packages,
    find_mechanism,
    find_partial,
    gpu_grants,
    has_bwrap,
    job_grants,
)
from pertharness.worker.landlock import Grants, abi_version, restrict

EVERYTHING = Path("/")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Return the site-packages of a virtual environment that nobody has started."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(Path(sys.executable).resolve())
    home = Path(sys.base_prefix) / "bin"
    (tmp_path / "venv" / "pyvenv.cfg").write_text(f"home = {home}\nversion = 3.11\n")
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    return site


def python_of(site: Path) -> Path:
    return site.parents[2] / "bin" / "python"


def make_package(folder: Path, *files: str) -> Path:
    folder.mkdir(parents=True)
    for name in ("__init__.py", *files):
        (folder / name).touch()
    return folder


def launch(folder: Path, stage: str = "predictions", *inputs: Path) -> Launch:
    job = Job(key="k", stage=stage, plugin=PluginRef(name="p", module="p", version="1"))  # type: ignore[arg-type]
    for name in ("out", "scratch", "home"):
        (folder / name).mkdir(parents=True)
    return Launch(job=job, folder=folder, inputs=tuple(InputFile(role=path.stem, path=path) for path in inputs))


def test_a_virtual_environment_is_granted_with_what_it_was_made_from(environment: Path) -> None:
    grants = base_grants(python_of(environment))
    assert str(environment.parents[2]) in grants.read
    assert str(Path(sys.base_prefix).resolve()) in grants.read
    assert grants.write == ()


def test_an_interpreter_of_its_own_is_granted_by_its_prefix() -> None:
    read = base_grants(Path(sys.base_prefix) / "bin" / "python3").read
    assert {sys.base_prefix, str(Path(sys.base_prefix).resolve())} <= set(read)


def test_what_is_granted_is_enough_to_start_and_import(tmp_path: Path) -> None:
    if not abi_version():
        pytest.skip("no Landlock on this machine")
    grants = base_grants(Path(sys.executable)) + job_grants(launch(tmp_path / "job"), Grants(), cuda=False,
                                                            shared_memory=False)  # fmt: skip
    code = "import anndata, pertharness.worker.stages, scipy.sparse"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], preexec_fn=lambda: restrict(grants, abi_version()), capture_output=True,
        text=True, cwd=tmp_path / "job", env={"HOME": str(tmp_path / "job" / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_line_of_a_pth_file_grants_what_can_be_imported_there(environment: Path, tmp_path: Path) -> None:
    sources = tmp_path / "project" / "src"
    package = make_package(sources / "my_model")
    (sources / "module.py").touch()
    (sources / "data.h5ad").touch()
    (sources / "data").mkdir()
    (environment / "my_model.pth").write_text(f"# comment\nimport os\n{sources}\n/not/there\nrelative\n")
    grants = base_grants(python_of(environment))
    granted = [path for path in grants.read if path.startswith(str(tmp_path / "project"))]
    assert granted == [str(sources / "module.py"), str(package)]
    assert str(sources) in grants.listing
    assert editable_packages(python_of(environment)) == [sources / "module.py", package]


def test_a_folder_of_packages_is_taken_whole_with_what_it_names(environment: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    (others / "numpy-1.0.dist-info").mkdir(parents=True)
    package = make_package(tmp_path / "further" / "package")
    (others / "further.pth").write_text(f"{package.parent}\n")
    (environment / "others.pth").write_text(f"{others}\n")
    assert {str(others), str(package)} <= set(base_grants(python_of(environment)).read)


def test_a_finder_of_setuptools_grants_what_it_maps(environment: Path, tmp_path: Path) -> None:
    package = make_package(tmp_path / "project" / "model")
    (environment / "__editable___model_1_0_finder.py").write_text(
        f"import sys\nMAPPING: dict[str, str] = {{'model': {str(package)!r}}}\nNAMESPACES = {{}}\n"
    )
    grants = base_grants(python_of(environment))
    assert str(package) in grants.read
    assert str(package.parent) not in grants.read
    assert str(package.parent) in grants.listing


def test_a_line_of_code_that_adds_a_folder_of_packages_is_followed(environment: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    (others / "numpy-1.0.dist-info").mkdir(parents=True)
    package = make_package(tmp_path / "further" / "package")
    (others / "further.pth").write_text(f"{package.parent}\n{environment}\n")  # and back to where it started
    (environment / "parent.pth").write_text(f"import site; site.addsitedir({str(others)!r})\n")
    (environment / "numpy-1.0.dist-info").mkdir()
    assert {str(others), str(package)} <= set(base_grants(python_of(environment)).read)


def test_a_plugin_cannot_name_folders_of_data_as_its_packages(environment: Path, tmp_path: Path) -> None:
    data = tmp_path / "store" / "datasets"
    data.mkdir(parents=True)
    (data / "truth.h5ad").touch()
    table = {"x": str(data), "y": str(data / "truth.h5ad"), "z": "/", "home": str(tmp_path)}
    (environment / "__editable___x_finder.py").write_text(f"MAPPING: dict[str, str] = {table!r}\n")
    (environment / "x.pth").write_text(f"{data}\n{data.parent}\n/\nimport os; '{data}'; '/'\n")
    grants = base_grants(python_of(environment))
    assert not {str(data), str(data / "truth.h5ad"), str(tmp_path), str(data.parent), "/"} & {
        *grants.read,
        *grants.listing,
    }


@pytest.mark.parametrize(
    "table",
    [
        "{**x}",
        "{1: 2}",
        "{'x': None}",
        "{'a', 'b'}",
        "{'x': '/' + 'y' * 300}",
        f"{{'x': '/{'y' * 5000}'}}",
        "{" * 500 + "}" * 500,
    ],
)
def test_a_table_that_is_none_grants_nothing(table: str, environment: Path) -> None:
    before = base_grants(python_of(environment))
    (environment / "__editable___x_finder.py").write_text(f"MAPPING: dict[str, str] = {table}\n")
    (environment / "x.pth").write_bytes(b"\xff\xfe\n/\0odd\nimport '/\0odd'\n/" + b"y" * 5000)
    _interpreter.cache_clear()
    assert base_grants(python_of(environment)) == before


def test_a_confined_job_is_granted_its_inputs_one_by_one(tmp_path: Path) -> None:
    train = tmp_path / "store" / "splits" / "key" / "train.h5ad"
    train.parent.mkdir(parents=True)
    train.touch()
    grants = job_grants(launch(tmp_path / "job", "predictions", train), Grants(), cuda=False, shared_memory=False)
    assert str(train) in grants.read
    assert not {str(parent) for parent in train.parents} & {*grants.read, *grants.listing, *grants.write}
    assert grants.write == tuple(str(tmp_path / "job" / name) for name in ("out", "scratch", "home"))


@pytest.mark.parametrize("stage", ["cards", "embeddings", "predictions", "checks"])
@pytest.mark.parametrize("cuda", [False, True])
def test_nothing_that_a_confined_job_is_granted_is_the_whole_of_anything(
    stage: str, cuda: bool, tmp_path: Path
) -> None:
    grants = job_grants(launch(tmp_path / "job", stage), base_grants(Path(sys.executable)), cuda=cuda,
                        shared_memory=True)  # fmt: skip
    for path in (*grants.read, *grants.listing, *grants.write, *grants.devices):
        # Followed as the kernel follows it: a link such as /proc/self/root stands for what it leads to.
        assert Path(path).resolve() not in (EVERYTHING, Path("/proc"), Path("/dev"), Path("/home"), Path("/tmp")), path


@pytest.mark.parametrize("stage", ["datasets", "scores"])
def test_a_job_that_may_read_the_truth_writes_its_own_folders_alone(stage: str, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    truth.touch()
    grants = job_grants(launch(tmp_path / "job", stage, truth), Grants(), cuda=False, shared_memory=False)
    # Data come from anywhere. A scorer is given all that it compares, and sees nothing of jobs that run beside it.
    assert ("/" if stage == "datasets" else str(truth)) in grants.read
    assert ("/" in grants.read) == (stage == "datasets")
    assert grants.write == tuple(str(tmp_path / "job" / name) for name in ("out", "scratch", "home"))


def test_only_the_harness_itself_is_trusted_with_everything(tmp_path: Path) -> None:
    for plugin in (PluginRef(name="pertharness", module="mine", version="1"),
                   PluginRef(name="mine", module="pertharness", version="1")):  # fmt: skip
        job = Job(key="k", stage="predictions", plugin=plugin)
        assert Launch(job=job, folder=tmp_path).is_confined
        assert not Launch(job=job, folder=tmp_path).reads_everything
    own = Launch(job=Job(key="k", stage="predictions", plugin=CORE), folder=tmp_path)
    assert (own.is_confined, own.reads_everything) == (False, True)


def test_what_a_kernel_leaves_open_is_said_of_each_record() -> None:
    assert left_open("landlock", 7, seccomp=True) == left_open("bwrap", 0, seccomp=True) == []
    assert [words.partition(":")[0] for words in left_open("landlock", 2, seccomp=False)] == [
        "files of the user can be truncated by path", "signals and abstract sockets of other processes",
        "network, shared memory, times and modes of files",
    ]  # fmt: skip


def test_cuda_gets_its_devices_and_a_processs_own_files() -> None:
    assert "/proc/self" in gpu_grants().devices
    assert gpu_grants().read == gpu_grants().write == ()


@pytest.mark.skipif(not abi_version(), reason="no Landlock on this machine")
def test_a_process_with_the_grants_of_a_job_sees_its_inputs_and_no_other_file(tmp_path: Path) -> None:
    for name in ("input", "truth"):
        (tmp_path / name).write_text(name)
    grants = job_grants(
        launch(tmp_path / "job", "predictions", tmp_path / "input"), base_grants(Path(sys.executable)), cuda=False,
        shared_memory=False,
    )  # fmt: skip

    def check() -> None:
        restrict(grants, abi_version())
        assert (tmp_path / "input").read_text() == "input"
        (tmp_path / "job" / "scratch" / "file").write_text("x")
        assert Path("/proc/self/status").read_text()
        hidden = [tmp_path / "truth", f"/proc/self/root{tmp_path}/truth", "/proc/self/net/unix", "/proc/1/cmdline"]
        for path in (
            *hidden,
            f"/proc/{os.getppid()}/cmdline",
            "/proc/thread-self/net/unix",
            "/etc/../" + str(tmp_path / "truth"),
        ):
            with pytest.raises(PermissionError):
                Path(path).read_text()
        with pytest.raises(PermissionError):
            (tmp_path / "job" / "job.json").write_text("{}")

    in_a_child(check)


def test_a_store_beneath_what_is_granted_is_named(environment: Path, tmp_path: Path) -> None:
    prefix = environment.parents[2]
    store, data, elsewhere = prefix / "store", tmp_path / "screen.h5ad", tmp_path / "elsewhere"
    grants = base_grants(python_of(environment)) + Grants(read=(str(store / "work" / "k"),))
    [words] = find_partial(grants, [store, data, elsewhere], own=[str(store / "work" / "k")])
    assert words == f"{store} lies beneath {prefix}, which the job may read"


def test_what_a_job_is_meant_to_read_is_no_leak(tmp_path: Path) -> None:
    own = str(tmp_path / "user" / "weights.pt")
    assert find_partial(Grants(read=(own,)), [Path(own), tmp_path / "user"], own=[own]) == []


def test_a_link_to_the_store_does_not_hide_that_it_is_granted(environment: Path, tmp_path: Path) -> None:
    (environment.parents[2] / "real").mkdir()
    (tmp_path / "store").symlink_to(environment.parents[2] / "real")
    assert len(find_partial(base_grants(python_of(environment)), [tmp_path / "store"], own=[])) == 1


def test_none_is_always_there_and_auto_takes_the_best() -> None:
    assert find_mechanism("none") == "none"
    best = "landlock" if abi_version() else "bwrap" if has_bwrap() else "none"
    assert find_mechanism("auto") == best
    assert (find_mechanism("landlock") is None) == (abi_version() == 0)
    assert (find_mechanism("bwrap") is None) == (not has_bwrap())


def test_a_line_says_what_the_machine_can_do() -> None:
    words = describe_machine()
    assert ("no Landlock" in words) == (abi_version() == 0)
    assert ("no bubblewrap" in words) == (not has_bwrap())
    assert f"takes {find_mechanism('auto')!r}" in words
