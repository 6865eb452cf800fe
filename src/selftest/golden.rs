//! Reads golden cases for tests (`tests/golden`, or the folder that ADVECT_GOLDEN_DIR names).

use safetensors::SafeTensors;

/// One golden case.
pub struct Golden {
    name: String,
    bytes: Vec<u8>,
}

impl Golden {
    /// The case of that name.
    pub fn read(name: &str) -> Golden {
        let folder = std::env::var("ADVECT_GOLDEN_DIR")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden").into());
        let file = format!("{folder}/{name}.safetensors");
        let bytes = std::fs::read(&file).unwrap_or_else(|e| panic!("{file}: {e}"));
        Golden { name: name.into(), bytes }
    }

    fn metadata(&self, key: &str) -> String {
        let (_, header) = SafeTensors::read_metadata(&self.bytes).unwrap();
        header.metadata().as_ref().unwrap()[key].clone()
    }

    /// An attribute of the case.
    pub fn attr(&self, key: &str) -> serde_json::Value {
        let attrs: serde_json::Value = serde_json::from_str(&self.metadata("attrs")).unwrap();
        attrs[key].clone()
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).unwrap().shape().to_vec()
    }

    /// An f32 tensor.
    pub fn f32(&self, name: &str) -> Vec<f32> {
        let all = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = all.tensor(name).unwrap().data().to_vec();
        data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    /// An i64 tensor.
    pub fn i64(&self, name: &str) -> Vec<i64> {
        let all = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = all.tensor(name).unwrap().data().to_vec();
        data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
    }

    /// Panics unless `got` agrees with a tensor within the case's tolerance.
    pub fn check(&self, name: &str, got: &[f32]) {
        let want = self.f32(name);
        assert_eq!(got.len(), want.len(), "{}: {name}", self.name);
        let tolerance: f64 = self.metadata("tol").parse().unwrap();
        let sum = |f: &dyn Fn(usize) -> f64| (0..want.len()).map(|i| f(i).powi(2)).sum::<f64>().sqrt();
        let error = sum(&|i| f64::from(got[i]) - f64::from(want[i])) / sum(&|i| f64::from(want[i]));
        assert!(error <= tolerance, "{}: {name} off by {error:.2e}, needed {tolerance:.0e}", self.name);
    }
}
