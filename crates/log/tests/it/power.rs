//! Real power losses: the ext4 shutdown ioctl on a loop-mounted image throws away what was not synced, as a power loss
//! does. Run by `cargo xtask power`, which says how often in `DUALSTREAM_POWER_CYCLES`. Needs root, a loop device and
//! mkfs.ext4: where they are missing it fails if it was asked for so, and else says so and passes.

use crate::publisher::{Acked, Publisher, check};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: nothing more reaches the disk, not even the file system's
/// own journal. Rust would need unsafe code for it.
const SHUTDOWN: &str = "import fcntl,os,struct,sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// An ext4 file system in a file, mounted.
struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// The reason why there can be none.
    fn make() -> Result<Disk, String> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("dualstream-power-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("mount")).map_err(|e| e.to_string())?;
        let disk = Disk { folder };
        let image = disk.folder.join("image");
        std::fs::File::create(&image).and_then(|f| f.set_len(256 << 20)).map_err(|e| e.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        disk.mount()?;
        run(Command::new("python3").args(["-c", "import fcntl"]))?;
        Ok(disk)
    }

    fn mount_point(&self) -> PathBuf {
        self.folder.join("mount")
    }

    fn mount(&self) -> Result<(), String> {
        let (image, point) = (self.folder.join("image"), self.mount_point());
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(point))
    }

    fn unmount(&self) -> Result<(), String> {
        run(Command::new("umount").arg(self.mount_point()))
    }

    fn lose_power(&self) {
        run(Command::new("python3").args(["-c", SHUTDOWN]).arg(self.mount_point())).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: after a failed check the log may still have files open.
        let _ = run(Command::new("umount").arg("-l").arg(self.mount_point()));
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

#[test]
#[ignore = "needs root and a loop device; see the head of this file"]
fn power_is_lost_in_the_middle_of_publishing() {
    let asked = std::env::var("DUALSTREAM_POWER_CYCLES").ok();
    let disk = match Disk::make() {
        Ok(disk) => disk,
        Err(reason) if asked.is_some() => panic!("power cannot be lost on this machine: {reason}"),
        Err(reason) => {
            println!("SKIPPED, nothing was tested: {reason}");
            return;
        }
    };
    let cycles = asked.map_or(50, |text| text.parse::<u32>().unwrap());
    let dir = disk.mount_point().join("data");
    let (mut acked, mut seen) = (Acked::new(), BTreeMap::new());
    let mut stored = 0;
    for cycle in 0..cycles {
        let mut publisher = Publisher::start(&dir, cycle);
        let wanted = 1 + (cycle as usize * 37) % 900;
        assert_eq!(publisher.note(&mut acked, wanted), wanted, "cycle {cycle}: it ended by itself");
        disk.lose_power();
        // It ends by itself once it notices; what it acknowledged until then counts.
        publisher.wait(&mut acked);
        disk.unmount().unwrap();
        disk.mount().unwrap();
        stored = check(&dir, &acked, &mut seen);
        assert!(stored >= acked.len());
        println!("{} of {cycles}: {} events acknowledged so far, all there", cycle + 1, acked.len());
    }
    println!(
        "{cycles} power losses, {} events acknowledged, {stored} stored, none lost or moved",
        acked.len()
    );
}
